-- The slices of a dataset of one owner between two windows, by provider, as the ledger knows them: what is published of
-- each, how its newest attempt ended, and how many calls all attempts at it made, with what these cost (USD).
-- `published_at` is when its content was published first: an attempt that found the same again names the same batch.
SELECT
    provider,
    toUnixTimestamp(window_start) AS window_seconds,
    maxIf(b.batch, b.status IN ('ok', 'partial')) AS published_batch,
    toString(argMaxIf(b.status, b.batch, b.status IN ('ok', 'partial'))) AS published_status,
    argMaxIf(b.rows, b.batch, b.status IN ('ok', 'partial')) AS published_rows,
    argMaxIf(b.content_hash, b.batch, b.status IN ('ok', 'partial')) AS published_hash,
    argMaxIf(b.error, b.batch, b.status IN ('ok', 'partial')) AS published_error,
    argMaxIf(b.run_id, (b.batch, -toUnixTimestamp64Milli(b.published_at)), b.status IN ('ok', 'partial')) AS run,
    argMaxIf(toUnixTimestamp64Milli(b.published_at), (b.batch, -toUnixTimestamp64Milli(b.published_at)),
        b.status IN ('ok', 'partial')) AS first_published,
    toString(argMax(b.status, (b.published_at, b.batch))) AS last_status,
    argMax(b.error, (b.published_at, b.batch)) AS last_error,
    sum(b.api_calls) AS calls,
    sum(b.api_cost_usd) AS usd
FROM metric_batches AS b
WHERE dataset = {dataset:String} AND customer_id = {customer:String}
    AND (empty({provider:String}) OR provider = {provider:String})
    AND window_start >= fromUnixTimestamp({first:UInt32}) AND window_start < fromUnixTimestamp({end:UInt32})
GROUP BY provider, window_start
ORDER BY provider, window_start
