-- What applications used of their models, by application and model: requests of every kind, how many failed, tokens, how
-- long answers took, and what it cost: of the window, and of the day so far. Every request counts, judged or not.
--
-- The cost is that of the tokens by `token_prices` in the customers file, as the prices were when the window was
-- collected; of a model without a price it is what the logs tell. Percentiles of latencies are within 3 %.
--
-- shows: window_start period provider application_id model_name requests failed failed_share steps embeddings refusals
--   requests_with_tokens input_tokens output_tokens latency_mean_ms latency_p50_ms latency_p95_ms usd usd_from as_of
--   complete
-- reads: application since day
-- kept: 90 days
-- key: customer_id provider application_id model_name period
-- types: requests UInt64, interactions UInt64, steps UInt64, embeddings UInt64, failed UInt64, refusals UInt64,
--   requests_with_tokens UInt64, input_tokens Nullable(UInt64), output_tokens Nullable(UInt64),
--   requests_with_latency UInt64, requests_with_cost UInt64, usd Nullable(Decimal(38, 18)),
--   usd_logged Nullable(Decimal(38, 18))
WITH
published AS
(
    SELECT customer_id, provider, window_start, max(b.batch) AS batch, argMax(b.status, b.batch) = 'ok' AS complete
    FROM metric_batches AS b
    WHERE dataset = 'application' AND status IN ('ok', 'partial')
        AND window_start >= toStartOfDay({window:DateTime('UTC')}) AND window_start <= {window:DateTime('UTC')}
    GROUP BY customer_id, provider, window_start
),
used AS
(
    SELECT
        a.*,
        p.complete AS complete,
        JSONExtractUInt(details, 'requests_with_tokens') AS with_tokens,
        JSONExtractUInt(details, 'input_tokens') AS input,
        JSONExtractUInt(details, 'output_tokens') AS output,
        toDecimal128OrNull(JSONExtractString(details, 'input_usd_per_million'), 15) AS input_price,
        toDecimal128OrNull(JSONExtractString(details, 'output_usd_per_million'), 15) AS output_price,
        if(with_tokens > 0,
            (toDecimal128(input, 0) * input_price + toDecimal128(output, 0) * output_price) / 1000000,
            NULL) AS priced,
        JSONExtractUInt(details, 'requests_with_cost') AS with_cost,
        toDecimal128OrNull(JSONExtractString(details, 'logged_usd'), 18) AS logged,
        JSONExtractKeysAndValues(details, 'latency_bins', 'UInt64') AS held
    FROM application_metrics AS a
    INNER JOIN published AS p USING (customer_id, provider, window_start, batch)
    WHERE a.window_start >= toStartOfDay({window:DateTime('UTC')}) AND a.window_start <= {window:DateTime('UTC')}
        AND a.metric_type = 'usage'
),
figures AS
(
    SELECT
        period,
        customer_id,
        provider,
        application_id,
        argMaxIf(u.application_name, u.window_start, u.application_name != '') AS application_name,
        model_name,
        sum(JSONExtractUInt(u.details, 'requests')) AS requests,
        sum(JSONExtractUInt(u.details, 'interactions')) AS interactions,
        sum(JSONExtractUInt(u.details, 'steps')) AS steps,
        sum(JSONExtractUInt(u.details, 'embeddings')) AS embeddings,
        sum(JSONExtractUInt(u.details, 'failed')) AS failed,
        sum(JSONExtractUInt(u.details, 'refusals')) AS refusals,
        sum(u.with_tokens) AS requests_with_tokens,
        if(requests_with_tokens = 0, NULL, sum(u.input)) AS input_tokens,
        if(requests_with_tokens = 0, NULL, sum(u.output)) AS output_tokens,
        sum(JSONExtractUInt(u.details, 'requests_with_latency')) AS requests_with_latency,
        sum(JSONExtractUInt(u.details, 'latency_us')) AS latency_us,
        sumMap(arrayMap(bin -> toInt16OrZero(bin.1), u.held), arrayMap(bin -> bin.2, u.held)) AS bins,
        arrayCumSum(bins.2) AS below,
        sum(u.with_cost) AS requests_with_cost,
        if(requests_with_cost = 0, NULL, toDecimal128(sum(u.logged), 18)) AS usd_logged,
        countIf(u.with_tokens > 0 AND isNull(u.priced)) AS without_price,
        if(requests_with_tokens = 0 OR without_price > 0, NULL, toDecimal128(sum(u.priced), 18)) AS usd_priced,
        max(u.window_start) AS as_of,
        min(u.complete) AS complete
    FROM used AS u
    ARRAY JOIN if(u.window_start = {window:DateTime('UTC')}, ['window', 'day'], ['day']) AS period
    GROUP BY period, customer_id, provider, application_id, model_name
)
SELECT
    period,   -- window | day so far, this window included
    customer_id,
    provider,
    application_id,
    application_name,
    model_name,
    requests,   -- all calls to the model: interactions, steps, embeddings and those that failed
    interactions,   -- calls with a prompt and an answer in words: what a sample is judged of
    steps,   -- calls that were answered with calls of tools only
    embeddings,
    failed,   -- calls that ended with an error
    failed / nullIf(requests, 0) AS failed_share,   -- 0 to 1
    refusals,   -- answers of which the API says that the model refused
    requests_with_tokens,   -- those that tell their tokens
    input_tokens,   -- of their prompts; null where none tells them
    output_tokens,   -- of their responses; null where none tells them
    requests_with_latency,   -- those that tell how long they took, and did not fail
    latency_us / 1000 / nullIf(requests_with_latency, 0) AS latency_mean_ms,
    if(empty(below), NULL, exp2((bins.1[arrayFirstIndex(n -> n * 100 >= below[-1] * 50, below)] + 0.5) / 12) / 1000)
        AS latency_p50_ms,   -- half of them took no longer
    if(empty(below), NULL, exp2((bins.1[arrayFirstIndex(n -> n * 100 >= below[-1] * 95, below)] + 0.5) / 12) / 1000)
        AS latency_p95_ms,   -- 95 % of them took no longer
    ifNull(usd_priced, usd_logged) AS usd,   -- null where neither a price is known nor a cost is logged
    multiIf(isNotNull(usd_priced), 'token_prices', isNotNull(usd_logged), 'log', '') AS usd_from,   -- token_prices | log
    requests_with_cost,   -- those whose cost is logged
    usd_logged,   -- as the logs tell it
    as_of,
    complete
FROM figures
