-- How each provider of a customer stood in a family at a time: how many attempts since a moment published something, the newest
-- window of those, and of the newest window that was tried, how its last attempt ended.
SELECT
    provider,
    countIf(status IN ('ok', 'partial')) AS published,
    toUnixTimestamp(maxIf(window_start, status IN ('ok', 'partial'))) AS newest,
    toUnixTimestamp(max(window_start)) AS tried,
    argMax(toString(status), (window_start, published_at, batch)) AS last_status,
    argMax(error, (window_start, published_at, batch)) AS last_error
FROM metric_batches
WHERE customer_id = {customer:String} AND dataset = {family:String}
    AND (empty({provider:String}) OR provider = {provider:String})
    AND window_start >= fromUnixTimestamp({since:UInt32}) AND published_at <= {as_of:DateTime64(3, 'UTC')}
GROUP BY provider
