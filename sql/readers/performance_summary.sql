-- One window in figures: per customer, provider, kind of resource, metric and statistic.
--
-- shows: window_start provider resource_type metric_name statistic mean unit resources points minimum maximum p95
--   complete
-- reads: performance
-- kept: 90 days
-- key: customer_id provider resource_type metric_name statistic
-- table: performance_summary 89d2730b
SELECT
    p.customer_id AS customer_id,
    p.provider AS provider,
    resource_type,
    metric_name,
    statistic,
    any(p.unit) AS unit,
    uniqExact(resource_id) AS resources,
    count() AS points,
    avg(metric_value) AS mean,
    min(metric_value) AS minimum,
    max(metric_value) AS maximum,
    quantileExactInclusive(0.95)(metric_value) AS p95,
    any(newest.complete) AS complete
FROM performance_metrics AS p
INNER JOIN
(
    SELECT customer_id, provider, window_start, max(b.batch) AS batch, argMax(status, b.batch) = 'ok' AS complete
    FROM metric_batches AS b
    WHERE dataset = 'performance' AND status IN ('ok', 'partial') AND window_start = {window:DateTime('UTC')}
    GROUP BY customer_id, provider, window_start
) AS newest USING (customer_id, provider, window_start, batch)
WHERE p.window_start = {window:DateTime('UTC')}
GROUP BY customer_id, provider, resource_type, metric_name, statistic
