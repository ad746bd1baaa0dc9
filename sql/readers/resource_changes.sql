-- What changed since the complete inventory before: of each customer and provider whose inventory of the window is
-- complete, that one against the newest complete one before it, at most a week older. A partial inventory takes no part,
-- so what it could not list is neither deleted in its window nor created in the next.
--
-- created: what was not in the inventory before. What has come into view, with its account, its region or its kind, is
--   `listed` instead: that inventory did not look there and it was not made since, or it was made more than a day before.
-- deleted: what is not in the inventory any more. Where that one did not look, because the account or region was taken out
--   of the customers file or is disabled, nothing is known of it, and it is `not_listed`.
-- replaced: where a resource_id has another instance_uid than before, one thing was deleted and another created, and
--   nothing else is told of it. A uid that only one of the two inventories has replaces nothing.
-- resized, moved: of what both inventories tell of its size and place, something is another. What only one tells is no
--   change, as of a database that is still being made. A snapshot or image holds what its chain makes of it, which its
--   cloud alone moves: it has no sizes.
-- terminated: what a cloud lists as terminated is gone. That is told once, as its status, and neither what it loses while
--   it is still listed nor its end in the listing is told.
--
-- shows: window_start provider resource_type resource_name change before after previous_window region resource_id
-- if empty: nothing changed since the complete inventory before, or there is none yet
-- reads: resource, resource last 7 days by previous_window
-- kept: 400 days
-- key: customer_id provider resource_type resource_id change
-- types: resource_id String, instance_uid String, resource_name String, before String, after String
-- table: resource_changes ca6e36f0
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
-- A scalar is computed once, and each use of `pairs` anew.
(SELECT arrayDistinct(arrayPushBack(groupArray(old_window), {window:DateTime('UTC')})) FROM pairs) AS compared_windows,
-- Where each inventory looked: an attempt that found the same content again may have looked elsewhere.
scopes AS
(
    SELECT customer_id, provider, window_start, argMaxIf(b.scope, b.published_at, notEmpty(b.scope)) AS scope
    FROM metric_batches AS b
    WHERE dataset = 'resource' AND status = 'ok'
        AND window_start <= {window:DateTime('UTC')} AND window_start > {window:DateTime('UTC')} - INTERVAL 7 DAY
        AND window_start IN (SELECT arrayJoin(compared_windows))
    GROUP BY customer_id, provider, window_start
),
resources AS
(
    SELECT
        p.customer_id AS customer_id,
        p.provider AS provider,
        p.old_window AS old_window,
        r.resource_id AS resource_id,
        r.window_start = {window:DateTime('UTC')} AS is_new,
        r.account_id AS account_id,
        r.resource_name AS resource_name,
        r.resource_type AS resource_type,
        r.region AS region,
        r.instance_uid AS instance_uid,
        r.status = 'terminated' AS is_gone,
        if(r.status = r.cloud_status, toString(r.status), concat(r.status, ' (', r.cloud_status, ')')) AS state,
        [
            if(isNull(r.capacity), '', concat(toString(r.capacity), ' ', r.unit)),
            JSONExtractString(r.metadata, 'instance_type'),
            JSONExtractString(r.metadata, 'class'),
            JSONExtractString(r.metadata, 'node_type'),
            JSONExtractString(r.metadata, 'machine_type'),
            JSONExtractString(r.metadata, 'vm_size'),
            JSONExtractString(r.metadata, 'sku'),
            JSONExtractString(r.metadata, 'plan')] AS sizes,
        r.created_at AS created_at,
        r.tags AS tags,
        [toString(r.region), JSONExtractString(r.metadata, 'availability_zone'), JSONExtractString(r.metadata, 'zone')]
            AS places
    FROM resource_metrics AS r
    INNER JOIN pairs AS p ON r.customer_id = p.customer_id AND r.provider = p.provider
    WHERE r.window_start <= {window:DateTime('UTC')} AND r.window_start > {window:DateTime('UTC')} - INTERVAL 7 DAY
        -- This skips the parts of other windows, where the join alone would read the tags of seven days.
        AND r.window_start IN (SELECT arrayJoin(compared_windows))
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
        anyIf(resource_name, NOT is_new) AS old_name, anyIf(resource_name, is_new) AS new_name,
        anyIf(resource_type, NOT is_new) AS old_type, anyIf(resource_type, is_new) AS new_type,
        anyIf(region, NOT is_new) AS old_in_region, anyIf(region, is_new) AS new_in_region,
        anyIf(state, NOT is_new) AS old_state, anyIf(state, is_new) AS new_state,
        anyIf(sizes, NOT is_new) AS old_sizes, anyIf(sizes, is_new) AS new_sizes,
        anyIf(tags, NOT is_new) AS old_tags, anyIf(tags, is_new) AS new_tags,
        anyIf(places, NOT is_new) AS old_places, anyIf(places, is_new) AS new_places,
        any(account_id) AS account,
        anyIf(created_at, is_new) AS new_made,
        anyIf(instance_uid, NOT is_new) AS old_uid, anyIf(instance_uid, is_new) AS new_uid,
        countIf(NOT is_new AND NOT is_gone) > 0 AS was_there,
        countIf(is_new) > 0 AS is_listed,
        countIf(is_new AND is_gone) > 0 AS is_terminated,
        countIf(NOT is_new) > 0 AS was_listed,
        NOT was_listed OR (old_uid != '' AND new_uid != '' AND old_uid != new_uid) AS is_another,
        is_listed AND was_listed AND new_type != 'snapshot'
            AND arrayExists((x, y) -> x != '' AND y != '' AND x != y, old_sizes, new_sizes) AS is_resized,
        is_listed AND was_listed
            AND arrayExists((x, y) -> x != '' AND y != '' AND x != y, old_places, new_places) AS is_moved,
        if(was_there, [('deleted', old_state, '')], []) AS deletion,
        multiIf(
            NOT is_listed, deletion,
            is_another, arrayPushBack(deletion, ('created', '', new_state)),
            is_terminated, if(was_there, [('status', old_state, new_state)], []),
            arrayFilter(x -> x.2 != x.3, [
                ('status', old_state, new_state),
                ('resized', if(is_resized, arrayStringConcat(arrayFilter(x -> x != '', old_sizes), ', '), ''),
                    if(is_resized, arrayStringConcat(arrayFilter(x -> x != '', new_sizes), ', '), '')),
                ('retagged', old_tags, new_tags),
                ('moved', if(is_moved, arrayStringConcat(arrayFilter(x -> x != '', old_places), ' '), ''),
                    if(is_moved, arrayStringConcat(arrayFilter(x -> x != '', new_places), ' '), '')),
                ('renamed', old_name, new_name)])) AS changes
    FROM resources
    GROUP BY customer_id, provider, resource_id
)
SELECT
    customer_id,
    provider,
    resource_id,
    if(c.1 = 'deleted', old_uid, new_uid) AS instance_uid,
    if(c.1 = 'deleted', old_name, new_name) AS resource_name,
    if(c.1 = 'deleted', old_type, new_type) AS resource_type,
    if(c.1 = 'deleted', old_in_region, new_in_region) AS region,
    multiIf(
        was_listed AND is_listed, c.1,
        is_listed, if(if(is_elsewhere, NOT ifNull(new_made >= previous_window, false),
            ifNull(new_made < previous_window - INTERVAL 1 DAY, false)), 'listed', 'created'),
        if(is_elsewhere, 'not_listed', 'deleted')
    ) AS change,   -- created, listed, deleted, not_listed, status, resized, retagged, moved, renamed
    c.2 AS before,   -- what it was; empty where the resource is new or newly listed
    c.3 AS after,   -- what it is now; empty where the resource is gone, or where nothing looks any more
    previous_window
FROM
(
    SELECT
        *,
        -- Whether the inventory that lacks it looked elsewhere.
        notEmpty(s.scope) AND NOT (mapContains(s.scope, account)
            AND (empty(s.scope[account]) OR region = '' OR has(s.scope[account], region))) AS is_elsewhere
    FROM
    (
        SELECT
            *,
            if(was_listed, old_in_region, new_in_region) AS region,
            if(is_listed, previous_window, {window:DateTime('UTC')}) AS window_start
        FROM compared
        WHERE notEmpty(changes)
    ) AS m
    LEFT JOIN scopes AS s USING (customer_id, provider, window_start)
)
ARRAY JOIN changes AS c
