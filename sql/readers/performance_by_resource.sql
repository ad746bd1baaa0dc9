-- One window, per resource, metric and statistic: the points in figures, and the last of them.
--
-- shows: window_start provider resource_type resource_name metric_name statistic mean minimum maximum last_value unit
--   points last_at region resource_id
-- kept: 7 days
-- key: customer_id provider resource_type resource_id metric_name statistic
-- table: performance_by_resource e97319ae
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
    count() AS points,
    avg(metric_value) AS mean,
    min(metric_value) AS minimum,
    max(metric_value) AS maximum,
    argMax(metric_value, p.timestamp) AS last_value,   -- of the newest point
    max(p.timestamp) AS last_at,
    argMax(p.unit, p.timestamp) AS unit
FROM performance_metrics AS p
LEFT SEMI JOIN
(
    SELECT customer_id, provider, window_start, max(b.batch) AS batch
    FROM metric_batches AS b
    WHERE dataset = 'performance' AND status IN ('ok', 'partial') AND window_start = {window:DateTime('UTC')}
    GROUP BY customer_id, provider, window_start
) AS newest USING (customer_id, provider, window_start, batch)
WHERE p.window_start = {window:DateTime('UTC')}
GROUP BY customer_id, provider, resource_id, metric_name, statistic
