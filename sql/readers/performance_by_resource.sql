-- One window, per resource, metric and statistic: the points in figures, and the last of them.
--
-- instance_uid: what was replaced under its name has a row for each instance. Points that were stored without a uid, by a
--   version that knew none, are those of the first instance that the window names.
--
-- shows: window_start provider resource_type resource_name metric_name statistic mean unit minimum maximum
--   last_value points last_at region resource_id
-- reads: performance
-- kept: 7 days
-- key: customer_id provider resource_type resource_id metric_name statistic instance_uid
-- table: performance_by_resource e08fc784
WITH
points AS
(
    SELECT *
    FROM performance_metrics
    WHERE window_start = {window:DateTime('UTC')} AND (customer_id, provider, batch) IN
    (
        SELECT customer_id, provider, max(b.batch)
        FROM metric_batches AS b
        WHERE dataset = 'performance' AND status IN ('ok', 'partial') AND window_start = {window:DateTime('UTC')}
        GROUP BY customer_id, provider
    )
),
named AS
(
    SELECT customer_id, provider, resource_id, argMinIf(instance_uid, timestamp, instance_uid != '') AS first_uid
    FROM points
    GROUP BY customer_id, provider, resource_id
    HAVING min(points.instance_uid) = '' AND first_uid != ''
)
SELECT
    p.customer_id AS customer_id,
    p.provider AS provider,
    resource_id,
    if(p.instance_uid = '', named.first_uid, p.instance_uid) AS instance_uid,
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
FROM points AS p
LEFT JOIN named USING (customer_id, provider, resource_id)
GROUP BY customer_id, provider, resource_id, instance_uid, metric_name, statistic
