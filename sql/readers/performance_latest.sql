-- The newest point of each series, from the newest published window of each customer and provider, at most a day old.
-- A deleted resource is not in that window's slice, so it is not here. A customer whose collection fails is, with the
-- age of its data in `as_of`. Of what was replaced under its name, the newest instance alone is told.
--
-- A total of a whole day comes once, in some window of the day after: it is the newest of the last two days' windows. What
-- has totals alone, such as a bucket, is told while the newest inventory, at most a day old, lists it.
--
-- shows: window_start provider resource_type resource_name metric_name statistic metric_value unit timestamp as_of
--   region resource_id
-- reads: performance last 2 days by as_of, resource last 1 day by as_of
-- kept: 7 days
-- key: customer_id provider resource_type resource_id metric_name statistic
-- table: performance_latest 44e36791
WITH
points AS
(
    SELECT p.*
    FROM performance_metrics AS p
    INNER JOIN
    (
        SELECT
            customer_id, provider,
            max(b.window_start) AS window_start,
            argMax(b.batch, (b.window_start, b.batch)) AS batch
        FROM metric_batches AS b
        WHERE dataset = 'performance' AND status IN ('ok', 'partial')
            AND b.window_start <= {window:DateTime('UTC')}
            AND b.window_start > {window:DateTime('UTC')} - INTERVAL 1 DAY
        GROUP BY customer_id, provider
    ) AS newest USING (customer_id, provider, window_start, batch)
    WHERE p.window_start <= {window:DateTime('UTC')} AND p.window_start > {window:DateTime('UTC')} - INTERVAL 1 DAY
),
totals AS
(
    SELECT *
    FROM performance_metrics
    WHERE period_seconds >= 86400
        AND window_start <= {window:DateTime('UTC')} AND window_start > {window:DateTime('UTC')} - INTERVAL 2 DAY
        AND (customer_id, provider, window_start, batch) IN
        (
            SELECT customer_id, provider, window_start, batch
            FROM published_batches
            WHERE dataset = 'performance'
                AND window_start <= {window:DateTime('UTC')}
                AND window_start > {window:DateTime('UTC')} - INTERVAL 2 DAY
        )
),
-- What is there, and which instance. Where two have points of the same time, the newer one is that whose points begin
-- later.
present AS
(
    SELECT customer_id, provider, resource_id, argMax(instance_uid, (instance_uid != '', newest, oldest)) AS uid
    FROM
    (
        SELECT customer_id, provider, resource_id, instance_uid, max(p.timestamp) AS newest, min(p.timestamp) AS oldest
        FROM points AS p
        GROUP BY customer_id, provider, resource_id, instance_uid
        UNION ALL
        SELECT customer_id, provider, resource_id, instance_uid, max(t.timestamp) AS newest, min(t.timestamp) AS oldest
        FROM totals AS t
        WHERE (customer_id, provider, resource_id) NOT IN (SELECT customer_id, provider, resource_id FROM points)
            AND (customer_id, provider, resource_id) IN
            (
                SELECT customer_id, provider, resource_id
                FROM newest_inventories(window = {window:DateTime('UTC')})
                WHERE status != 'terminated'
            )
        GROUP BY customer_id, provider, resource_id, instance_uid
    )
    GROUP BY customer_id, provider, resource_id
)
SELECT
    p.customer_id AS customer_id,
    p.provider AS provider,
    resource_id,
    any(present.uid) AS instance_uid,
    any(p.resource_name) AS resource_name,
    any(p.resource_type) AS resource_type,
    any(p.region) AS region,
    any(p.metric_type) AS metric_type,
    metric_name,
    statistic,
    argMax(p.metric_value, p.timestamp) AS metric_value,
    any(p.unit) AS unit,
    max(p.timestamp) AS timestamp,
    max(p.window_start) AS as_of
FROM (SELECT * FROM points UNION ALL SELECT * FROM totals) AS p
INNER JOIN present USING (customer_id, provider, resource_id)
WHERE p.instance_uid IN ('', present.uid)
GROUP BY customer_id, provider, resource_id, metric_name, statistic
