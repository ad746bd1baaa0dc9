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
-- reads: resource
-- kept: 100 days
-- key: customer_id provider resource_type resource_id instance_uid
-- types: resource_id String, instance_uid String, resource_name String
WITH
instances AS
(
    SELECT
        customer_id,
        provider,
        resource_id,
        r.instance_uid AS uid,
        argMax((r.resource_name, r.resource_type, r.kind, r.region, r.status, r.created_at), r.window_start) AS facts,
        countIf(r.status != 'unknown') AS known,
        countIf(r.status IN ('running', 'available', 'in_use')) AS up,
        countIf(r.status = 'stopped') AS stopped,
        min(r.window_start) AS first_seen,
        max(r.window_start) AS last_seen
    FROM resource_metrics AS r
    WHERE r.window_start >= {window:DateTime('UTC')} AND r.window_start < {window:DateTime('UTC')} + INTERVAL 1 DAY
        AND r.resource_type IN ('compute', 'database', 'load_balancer', 'kubernetes', 'serverless')
        AND r.status != 'terminated'
        AND (customer_id, provider, r.window_start, r.batch) IN
        (
            SELECT customer_id, provider, window_start, batch
            FROM published_batches
            WHERE dataset = 'resource' AND window_start >= {window:DateTime('UTC')}
                AND window_start < {window:DateTime('UTC')} + INTERVAL 1 DAY
        )
    GROUP BY customer_id, provider, resource_id, uid
),
named AS
(
    SELECT
        *,
        argMinIf(uid, first_seen, uid != '') OVER (PARTITION BY customer_id, provider, resource_id) AS first_uid
    FROM instances
)
SELECT
    customer_id,
    provider,
    resource_id,
    if(uid = '', first_uid, uid) AS instance_uid,
    argMax(n.facts, n.last_seen).1 AS resource_name,
    argMax(n.facts, n.last_seen).2 AS resource_type,
    argMax(n.facts, n.last_seen).3 AS kind,
    argMax(n.facts, n.last_seen).4 AS region,
    argMax(n.facts, n.last_seen).5 AS status,
    argMax(n.facts, n.last_seen).6 AS created_at,
    sum(n.known) AS known,   -- in how many windows its state is known, of the day's 96
    sum(n.up) AS up,   -- in how many it was running, available or in use
    sum(n.stopped) AS stopped,   -- in how many it was stopped
    min(n.first_seen) AS first_seen,   -- the first window that lists it
    max(n.last_seen) AS last_seen   -- the last window that lists it
FROM named AS n
GROUP BY customer_id, provider, resource_id, instance_uid
