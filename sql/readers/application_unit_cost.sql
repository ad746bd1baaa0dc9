-- What 1,000 requests cost in tokens, and what 1,000 good answers do, by application and model: of the window, and of the
-- day so far. Prices are those of `token_prices` in the customers file, as they were when the window was collected.
--
-- An answer is good if coherence, relevance and accuracy are each good or excellent, it is not toxic, and no hallucination
-- was found. Judged are samples, so the share of good ones has a 95 % Wilson interval, and so has their cost.
--
-- shows: window_start period provider application_id model_name requests usd_per_1000 usd_per_1000_good
--   usd_per_1000_good_low usd_per_1000_good_high judged good unknown_because as_of complete
-- kept: 90 days
-- key: customer_id provider application_id model_name judge_version period
-- types: requests UInt64, requests_with_tokens UInt64, input_tokens UInt64, output_tokens UInt64,
--   usd Nullable(Decimal(38, 18)), usd_per_1000 Nullable(Decimal(18, 9)), usd_per_1000_good Nullable(Decimal(18, 9)),
--   usd_per_1000_good_low Nullable(Decimal(18, 9)), usd_per_1000_good_high Nullable(Decimal(18, 9)),
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
        -- Without a verdict there is no score; a hallucination that cannot be assessed has none either.
        countIf(a.metric_type != 'hallucination' AND isNull(a.score)) = 0 AND NOT is_sample AS is_judged,
        is_judged AND countIf(
            if(a.metric_type IN ('hallucination', 'toxicity'), ifNull(a.score > 0, false), a.score < 0.75)) = 0 AS is_good,
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
        AND a.metric_type NOT IN ('source', 'usage')
    GROUP BY
        customer_id, provider, application_id, model_name, judge_version, window_start, interaction_id, is_sample
),
figures AS
(
    SELECT
        period,
        customer_id,
        provider,
        application_id,
        argMaxIf(w.application_name, w.window_start, w.application_name != '') AS application_name,
        model_name,
        judge_version,
        sumIf(JSONExtractUInt(w.details, 'population'), w.is_sample) AS requests,
        sum(w.with_tokens) AS requests_with_tokens,
        sum(w.input) AS input_tokens,
        sum(w.output) AS output_tokens,
        countIf(w.with_tokens > 0 AND isNull(w.cost)) AS without_price,
        if(requests_with_tokens = 0 OR without_price > 0, NULL, sum(w.cost)) AS usd,
        countIf(w.is_judged) AS judged,
        countIf(w.is_good) AS good,
        max(w.window_start) AS as_of,
        min(w.complete) AS complete
    FROM answers AS w
    ARRAY JOIN if(w.window_start = {window:DateTime('UTC')}, ['window', 'day'], ['day']) AS period
    GROUP BY period, customer_id, provider, application_id, model_name, judge_version
),
shares AS
(
    SELECT
        *,
        if(judged = 0, NULL, good / judged) AS share,
        z * sqrt(good * (1 - share) + z * z / 4) AS reach,
        if(judged = 0, NULL, greatest(0., (good + z * z / 2 - reach) / (judged + z * z))) AS low,
        if(judged = 0, NULL, least(1., (good + z * z / 2 + reach) / (judged + z * z))) AS high,
        usd * 1000 / nullIf(requests_with_tokens, 0) AS of_1000
    FROM figures
)
SELECT
    period,   -- window | day so far, this window included
    customer_id,
    provider,
    application_id,
    application_name,
    model_name,
    judge_version,
    requests,
    requests_with_tokens,   -- those that tell their tokens: what the cost is of
    input_tokens,   -- of prompts
    output_tokens,   -- of responses
    usd,   -- of these tokens; null where a price is not known
    of_1000 AS usd_per_1000,
    judged,   -- requests of the sample with a verdict
    good,
    share AS good_share,
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
FROM shares
