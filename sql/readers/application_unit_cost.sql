-- What 1,000 requests cost in tokens, and what 1,000 good answers do, by application and model: of the window, of the
-- hour and of the day so far. Prices are those of `token_prices` in the customers file, as they were when the window was collected.
--
-- An answer is good if coherence, relevance and accuracy are each good or excellent, it is not toxic, and no hallucination
-- was found. Judged are samples of each window, so each judged one counts for as many as its window has for one, and the
-- share of good ones has a 95 % interval, Wilson's by `effective_n`, and so has their cost.
--
-- shows: window_start period provider application_id model_name requests usd_per_1000 usd_per_1000_good
--   usd_per_1000_good_low usd_per_1000_good_high judged effective_n good unknown_because as_of complete
-- empty without: application_metrics
-- reads: application since day
-- kept: 90 days
-- key: customer_id provider application_id model_name judge_version period
-- types: requests UInt64, requests_with_tokens UInt64, input_tokens Nullable(UInt64), output_tokens Nullable(UInt64),
--   usd Nullable(Decimal(38, 18)), usd_per_1000 Nullable(Decimal(38, 9)), usd_per_1000_good Nullable(Decimal(38, 9)),
--   usd_per_1000_good_low Nullable(Decimal(38, 9)), usd_per_1000_good_high Nullable(Decimal(38, 9)),
--   judged UInt32, good UInt32
WITH
1.959963984540054 AS z,
published AS
(
    SELECT customer_id, provider, window_start, max(b.batch) AS batch, argMax(b.status, b.batch) = 'ok' AS complete
    FROM metric_batches AS b
    WHERE dataset = 'application' AND status IN ('ok', 'partial')
        AND window_start >= toStartOfDay({window:DateTime('UTC')}) AND window_start <= {window:DateTime('UTC')}
    GROUP BY customer_id, provider, window_start
),
-- One row of each judged interaction, and one of each sample.
answers AS
(
    SELECT
        a.customer_id AS customer_id,
        a.provider AS provider,
        a.application_id AS application_id,
        a.model_name AS model_name,
        a.judge_version AS judge_version,
        a.window_start AS window_start,
        a.interaction_id AS interaction_id,
        a.metric_type = 'sample' AS is_sample,
        any(a.application_name) AS application_name,
        any(p.complete) AS complete,
        -- Without a verdict there is no score; a hallucination that cannot be assessed has none either. An answer that
        -- declines to answer is not graded for relevance, and is not good.
        countIf(a.metric_type != 'hallucination' AND isNull(a.score) AND a.label != 'refusal') = 0 AND NOT is_sample
            AS is_judged,
        is_judged AND countIf(
            if(a.metric_type IN ('hallucination', 'toxicity'), ifNull(a.score > 0, false), ifNull(a.score < 0.75, true))) = 0
            AS is_good,
        any(if(is_sample, a.details, '')) AS details,
        toDecimal128OrNull(JSONExtractString(details, 'input_usd_per_million'), 15) AS input_price,
        toDecimal128OrNull(JSONExtractString(details, 'output_usd_per_million'), 15) AS output_price,
        JSONExtractUInt(details, 'requests_with_tokens') AS with_tokens,
        JSONExtractUInt(details, 'input_tokens') AS input,
        JSONExtractUInt(details, 'output_tokens') AS output,
        if(is_sample AND with_tokens > 0,
            (toDecimal128(input, 0) * input_price + toDecimal128(output, 0) * output_price) / 1000000,
            NULL) AS cost
    FROM application_metrics AS a
    INNER JOIN published AS p USING (customer_id, provider, window_start, batch)
    WHERE a.window_start >= toStartOfDay({window:DateTime('UTC')}) AND a.window_start <= {window:DateTime('UTC')}
        AND a.metric_type IN ('sample', 'coherence', 'relevance', 'accuracy', 'hallucination', 'toxicity')
    GROUP BY
        customer_id, provider, application_id, model_name, judge_version, window_start, interaction_id, is_sample
),
of_windows AS
(
    SELECT
        window_start,
        customer_id,
        provider,
        application_id,
        model_name,
        judge_version,
        anyIf(w.application_name, w.application_name != '') AS name,
        sumIf(JSONExtractUInt(w.details, 'population'), w.is_sample) AS all_of_it,
        sum(w.with_tokens) AS tell_tokens,
        sum(w.input) AS input_of_all,
        sum(w.output) AS output_of_all,
        countIf(w.with_tokens > 0 AND isNull(w.cost)) AS unpriced,
        sum(w.cost) AS paid,
        countIf(w.is_judged) AS with_verdict,
        countIf(w.is_good) AS are_good,
        if(with_verdict = 0, 0, greatest(all_of_it, with_verdict) / with_verdict) AS weight,
        min(w.complete) AS is_complete
    FROM answers AS w
    GROUP BY window_start, customer_id, provider, application_id, model_name, judge_version
),
figures AS
(
    SELECT
        period,
        customer_id,
        provider,
        application_id,
        argMaxIf(w.name, w.window_start, w.name != '') AS application_name,
        model_name,
        judge_version,
        sum(w.all_of_it) AS requests,
        sum(w.tell_tokens) AS requests_with_tokens,
        if(requests_with_tokens = 0, NULL, sum(w.input_of_all)) AS input_tokens,
        if(requests_with_tokens = 0, NULL, sum(w.output_of_all)) AS output_tokens,
        if(requests_with_tokens = 0 OR sum(w.unpriced) > 0, NULL, sum(w.paid)) AS usd,
        sum(w.with_verdict) AS judged,
        sum(w.are_good) AS good,
        nullIf(sum(w.weight * w.with_verdict), 0) AS weights,
        weights * weights / sum(w.weight * w.weight * w.with_verdict) AS effective_n,
        if(sum(w.weight * w.are_good) AS good_ones > weights, 1., good_ones / weights) AS share,
        z * sqrt(share * (1 - share) * effective_n + z * z / 4) AS reach,
        if(isNull(share), NULL, greatest(0., least(share, (share * effective_n + z * z / 2 - reach) / (effective_n + z * z))))
            AS low,
        if(isNull(share), NULL, least(1., greatest(share, (share * effective_n + z * z / 2 + reach) / (effective_n + z * z))))
            AS high,
        usd * 1000 / nullIf(requests_with_tokens, 0) AS of_1000,
        max(w.window_start) AS as_of,
        min(w.is_complete) AS complete
    FROM of_windows AS w
    ARRAY JOIN arrayFilter((name, is_in) -> is_in, ['window', 'hour', 'day'],
        [w.window_start = {window:DateTime('UTC')}, w.window_start >= toStartOfHour({window:DateTime('UTC')}), true])
        AS period
    GROUP BY period, customer_id, provider, application_id, model_name, judge_version
)
SELECT
    period,   -- window | hour so far | day so far, this window included
    customer_id,
    provider,
    application_id,
    application_name,
    model_name,
    judge_version,
    requests,
    requests_with_tokens,   -- those that tell their tokens: what the cost is of
    input_tokens,   -- of their prompts; null where none tells them
    output_tokens,   -- of their responses; null where none tells them
    usd,   -- of these tokens; null where a price is not known
    of_1000 AS usd_per_1000,
    judged,   -- requests of the sample with a verdict
    effective_n,   -- judged, less what it takes that they stand for different numbers of requests
    good,
    share AS good_share,   -- of all requests, as far as the judged ones tell
    low AS good_share_low,   -- the lower end of its 95 % interval
    high AS good_share_high,   -- the upper end of its 95 % interval
    if(share > 0, toFloat64(of_1000) / share, NULL) AS usd_per_1000_good,
    if(high > 0, toFloat64(of_1000) / high, NULL) AS usd_per_1000_good_low,   -- the lower end of its 95 % interval
    if(low > 0, toFloat64(of_1000) / low, NULL) AS usd_per_1000_good_high,   -- the upper end; null where it may be any amount
    multiIf(
        requests_with_tokens = 0, 'no request tells its tokens',
        isNull(usd), 'the customers file has no token_prices of this model',
        judged = 0, 'no answer was judged',
        good = 0, 'no judged answer was good',
        '') AS unknown_because,
    as_of,
    complete
FROM figures
