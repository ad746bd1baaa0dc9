-- What changed since the complete inventory before: of each customer and provider whose inventory of the window is
-- complete, that one against the newest complete one before it, at most a week older. A partial inventory takes no part,
-- so what it could not list is neither deleted in its window nor created in the next.
--
-- shows: window_start provider resource_type resource_name change before after previous_window region resource_id
-- if empty: nothing changed since the complete inventory before, or there is none yet
-- kept: 400 days
-- key: customer_id provider resource_type resource_id change
-- types: resource_id String, resource_name String, before String, after String
-- table: resource_changes b164afe0
WITH
inventories AS
(
    SELECT customer_id, provider, window_start, max(b.batch) AS batch, argMax(b.status, b.batch) = 'ok' AS complete
    FROM metric_batches AS b
    WHERE dataset = 'resource' AND status IN ('ok', 'partial')
        AND window_start <= {window:DateTime('UTC')}
        AND window_start > {window:DateTime('UTC')} - INTERVAL 7 DAY
    GROUP BY customer_id, provider, window_start
),
pairs AS
(
    SELECT
        customer_id,
        provider,
        argMaxIf(i.batch, i.window_start, i.window_start < {window:DateTime('UTC')}) AS old_batch,
        maxIf(i.window_start, i.window_start < {window:DateTime('UTC')}) AS old_window,
        argMaxIf(i.batch, i.window_start, i.window_start = {window:DateTime('UTC')}) AS new_batch
    FROM inventories AS i
    WHERE complete
    GROUP BY customer_id, provider
    HAVING old_batch > 0 AND new_batch > 0
),
resources AS
(
    SELECT
        p.customer_id AS customer_id,
        p.provider AS provider,
        p.old_window AS old_window,
        r.resource_id AS resource_id,
        r.window_start = {window:DateTime('UTC')} AS is_new,
        r.resource_name AS resource_name,
        r.resource_type AS resource_type,
        r.region AS region,
        if(r.status = r.cloud_status, toString(r.status), concat(r.status, ' (', r.cloud_status, ')')) AS state,
        arrayStringConcat(arrayFilter(x -> x != '', [
            if(isNull(r.capacity), '', concat(toString(r.capacity), ' ', r.unit)),
            JSONExtractString(r.metadata, 'instance_type'),
            JSONExtractString(r.metadata, 'class'),
            JSONExtractString(r.metadata, 'node_type'),
            JSONExtractString(r.metadata, 'machine_type'),
            JSONExtractString(r.metadata, 'vm_size'),
            JSONExtractString(r.metadata, 'sku'),
            JSONExtractString(r.metadata, 'plan')]), ', ') AS size,
        r.tags AS tags,
        trimRight(concat(r.region, ' ', JSONExtractString(r.metadata, 'availability_zone'),
            JSONExtractString(r.metadata, 'zone'))) AS place
    FROM resource_metrics AS r
    INNER JOIN pairs AS p ON r.customer_id = p.customer_id AND r.provider = p.provider
    WHERE r.window_start <= {window:DateTime('UTC')} AND r.window_start > {window:DateTime('UTC')} - INTERVAL 7 DAY
        AND ((r.window_start = {window:DateTime('UTC')} AND r.batch = p.new_batch)
            OR (r.window_start = p.old_window AND r.batch = p.old_batch))
),
compared AS
(
    SELECT
        customer_id,
        provider,
        any(old_window) AS previous_window,
        resource_id,
        argMax(resource_name, is_new) AS name,
        argMax(resource_type, is_new) AS type,
        argMax(region, is_new) AS newest_region,
        countIf(is_new) AS in_new,
        countIf(NOT is_new) AS in_old,
        multiIf(
            in_old = 0, [('created', '', anyIf(state, is_new))],
            in_new = 0, [('deleted', anyIf(state, NOT is_new), '')],
            arrayFilter(x -> x.2 != x.3, [
                ('status', anyIf(state, NOT is_new), anyIf(state, is_new)),
                ('resized', anyIf(size, NOT is_new), anyIf(size, is_new)),
                ('retagged', anyIf(tags, NOT is_new), anyIf(tags, is_new)),
                ('moved', anyIf(place, NOT is_new), anyIf(place, is_new)),
                ('renamed', anyIf(resource_name, NOT is_new), anyIf(resource_name, is_new))])) AS changes
    FROM resources
    GROUP BY customer_id, provider, resource_id
)
SELECT
    customer_id,
    provider,
    resource_id,
    name AS resource_name,
    type AS resource_type,
    newest_region AS region,
    c.1 AS change,
    c.2 AS before,   -- what it was; empty where the resource is new
    c.3 AS after,   -- what it is now; empty where the resource is gone
    previous_window
FROM compared
ARRAY JOIN changes AS c
