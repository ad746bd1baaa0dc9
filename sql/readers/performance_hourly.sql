-- An hour of every series in one row, from the published points of its four windows. `window` is the hour.
--
-- shows: window_start provider resource_type resource_name metric_name statistic n expected total minimum maximum unit
--   region resource_id
-- covers: 1 hour
-- kept: 90 days
-- key: customer_id provider resource_type resource_id metric_name statistic
-- types: expected UInt32
-- table: performance_hourly
SELECT
    p.customer_id AS customer_id,
    p.provider AS provider,
    resource_id,
    argMax(p.resource_name, p.timestamp) AS resource_name,
    argMax(p.resource_type, p.timestamp) AS resource_type,
    argMax(p.region, p.timestamp) AS region,
    argMax(p.metric_type, p.timestamp) AS metric_type,
    metric_name,
    statistic,
    argMax(p.unit, p.timestamp) AS unit,
    argMax(p.period_seconds, p.timestamp) AS period_seconds,
    count() AS n,
    greatest(1, intDiv(3600, greatest(1, period_seconds))) AS expected,
    sum(metric_value) AS total,
    min(metric_value) AS minimum,
    max(metric_value) AS maximum,
    min(p.timestamp) AS first_at,
    avg(toUnixTimestamp(p.timestamp) - toUnixTimestamp({window:DateTime('UTC')})) AS mean_time,
    n * varPopStable(toUnixTimestamp(p.timestamp) - toUnixTimestamp({window:DateTime('UTC')})) AS time_squares,
    n * varPopStable(metric_value) AS value_squares,
    n * covarPopStable(toUnixTimestamp(p.timestamp) - toUnixTimestamp({window:DateTime('UTC')}), metric_value)
        AS products,
    arraySort(groupArray(metric_value)) AS values
FROM performance_metrics AS p
LEFT SEMI JOIN
(
    SELECT customer_id, provider, window_start, max(b.batch) AS batch
    FROM metric_batches AS b
    WHERE dataset = 'performance' AND status IN ('ok', 'partial')
        AND window_start >= {window:DateTime('UTC')}
        AND window_start < {window:DateTime('UTC')} + INTERVAL 1 HOUR
    GROUP BY customer_id, provider, window_start
) AS newest USING (customer_id, provider, window_start, batch)
WHERE p.window_start >= {window:DateTime('UTC')} AND p.window_start < {window:DateTime('UTC')} + INTERVAL 1 HOUR
GROUP BY customer_id, provider, resource_id, metric_name, statistic
