-- What the ledger knows of each slice of some customers, of the collected datasets between two windows: the outcome of its newest attempt
-- (ok for good once it was), how many runs tried it without success, when last, and whether trying again can help.
-- Runs are counted, not rows: a run's own retries are one attempt, or an outage would use them all up at once.
SELECT
    dataset,
    customer_id,
    provider,
    toUnixTimestamp(window_start) AS window_seconds,
    if(countIf(status = 'ok') > 0, 'ok', argMax(toString(status), (published_at, batch))) AS last_status,
    argMax(permanent, (published_at, batch)) AS last_permanent,
    uniqExactIf(run_id, status IN ('failed', 'partial')) AS attempts,
    toUnixTimestamp(max(published_at)) AS last_attempt
FROM metric_batches
WHERE dataset IN {datasets:Array(String)} AND customer_id IN {customers:Array(String)}
    AND window_start >= {first:DateTime('UTC')} AND window_start <= {last:DateTime('UTC')}
GROUP BY dataset, customer_id, provider, window_start
