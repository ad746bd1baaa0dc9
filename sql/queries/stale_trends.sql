-- The newest hour that has trends, if a rollup that they read was published since they began (ns), and when it was.
WITH
newest AS
(
    SELECT window_start AS hour, max(batch) AS computed
    FROM metric_batches
    WHERE dataset = {trends:String} AND status = 'ok' AND window_start > {since:DateTime('UTC')}
    GROUP BY hour
    ORDER BY hour DESC
    LIMIT 1
)
SELECT
    toUnixTimestamp(any(hour)) AS hour_seconds,
    toUnixTimestamp64Nano(toDateTime64(max(published_at), 9, 'UTC')) AS published
FROM metric_batches
CROSS JOIN newest
WHERE dataset IN ('performance_hourly', 'performance_daily') AND status = 'ok'
    AND published_at > {since:DateTime('UTC')} AND window_start <= hour AND window_start > hour - INTERVAL 60 DAY
HAVING count() > 0 AND published > max(computed)
