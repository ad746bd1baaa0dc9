-- How a customer's collections of the last 30 days stood at a time: by provider and dataset the newest attempt at the newest window,
-- the newest window that was published, and how many attempts failed in the last 7 days.
SELECT
    provider,
    dataset,
    argMax(toString(b.status), (b.window_start, b.published_at, b.batch)) AS status,
    argMax(b.error, (b.window_start, b.published_at, b.batch)) AS error,
    argMax(b.published_at, (b.window_start, b.published_at, b.batch)) AS attempted_at,
    maxOrNullIf(b.window_start, b.status IN ('ok', 'partial')) AS published_window,
    countIf(b.status IN ('failed', 'budget', 'partial') AND b.published_at > {as_of:DateTime64(3, 'UTC')} - INTERVAL 7 DAY) AS failures
FROM metric_batches AS b
WHERE customer_id = {customer:String} AND b.window_start >= {as_of:DateTime64(3, 'UTC')} - INTERVAL 30 DAY
    AND b.published_at <= {as_of:DateTime64(3, 'UTC')} AND b.status != 'not_due'
GROUP BY provider, dataset
ORDER BY provider, dataset
