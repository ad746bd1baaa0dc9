-- How each thing that runs was on a day, by the inventories that list it. `window` is the day.
--
-- Of what was replaced under its name, each instance has a row. Inventories that tell no uid, as those of before uids were
-- kept, are of the first instance that the day names. What is listed as terminated is not there any more.
--
-- shows: window_start provider resource_type resource_name known up stopped first_seen last_seen status kind region
--   resource_id instance_uid
-- if empty: no inventory of the day lists anything that runs
-- covers: 1 day
-- also computes: stale_resource_days
-- kept: 100 days
-- key: customer_id provider resource_type resource_id instance_uid
-- types: resource_id String, instance_uid String, resource_name String
WITH
listed AS
(
    SELECT *
    FROM resource_metrics
    WHERE window_start >= {window:DateTime('UTC')} AND window_start < {window:DateTime('UTC')} + INTERVAL 1 DAY
        AND resource_type IN ('compute', 'database', 'load_balancer', 'kubernetes', 'serverless')
        AND status != 'terminated'
        AND (customer_id, provider, window_start, batch) IN
        (
            SELECT customer_id, provider, window_start, batch
            FROM published_batches
            WHERE dataset = 'resource' AND window_start >= {window:DateTime('UTC')}
                AND window_start < {window:DateTime('UTC')} + INTERVAL 1 DAY
        )
),
named AS
(
    SELECT customer_id, provider, resource_id, argMinIf(instance_uid, window_start, instance_uid != '') AS first_uid
    FROM listed
    GROUP BY customer_id, provider, resource_id
    HAVING min(listed.instance_uid) = '' AND first_uid != ''
)
SELECT
    l.customer_id AS customer_id,
    l.provider AS provider,
    resource_id,
    if(l.instance_uid = '', named.first_uid, l.instance_uid) AS instance_uid,
    argMax(l.resource_name, l.window_start) AS resource_name,
    argMax(l.resource_type, l.window_start) AS resource_type,
    argMax(l.kind, l.window_start) AS kind,
    argMax(l.region, l.window_start) AS region,
    argMax(l.status, l.window_start) AS status,
    argMax(tuple(l.created_at), l.window_start).1 AS created_at,
    countIf(l.status != 'unknown') AS known,   -- in how many windows its state is known, of the day's 96
    countIf(l.status IN ('running', 'available', 'in_use')) AS up,   -- in how many it was running, available or in use
    countIf(l.status = 'stopped') AS stopped,   -- in how many it was stopped
    min(l.window_start) AS first_seen,   -- the first window that lists it
    max(l.window_start) AS last_seen   -- the last window that lists it
FROM listed AS l
LEFT JOIN named USING (customer_id, provider, resource_id)
GROUP BY customer_id, provider, resource_id, instance_uid
