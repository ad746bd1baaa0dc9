-- How much of the 30 and 90 whole days before the window's day everything that runs was up, by the inventories that list
-- it, and beside that what its cloud measured. A row with an empty resource_id is of all resources of its type.
--
-- running: the share of the known windows in which the inventory had it running, available or in use. That is the state
--   that its cloud tells of it, at one moment in each window; of some kinds it is that of a subscription.
-- known: the share of its windows with an inventory that tells its state. A window without one is unknown, and not down.
--   Its windows are those of the period from when it was made, or first listed where the cloud does not tell that, to the
--   last that lists it where the newest complete inventory, at most a week before the day, does not.
-- measured: the mean of the cloud's own status checks or availability (the metric uptime); null where none is collected.
--
-- shows: window_start provider resource_type resource_name days running known measured measured_known stopped resources
--   status kind region last_seen resource_id instance_uid
-- ordered by: provider, resource_type, days, resource_id != '', running
-- if empty: no day is over since the first inventory of anything that runs
-- covers: 1 day
-- computed from: resource/days performance/daily
-- kept: 7 days
-- key: customer_id provider resource_type resource_id instance_uid days
-- types: resource_id String, instance_uid String, resource_name String, days UInt8
WITH
toStartOfDay({window:DateTime('UTC')}) AS today,
rollups AS
(
    SELECT *
    FROM resource_days_current
    WHERE window_start >= today - INTERVAL 90 DAY AND window_start < today
),
-- Days that tell no uid are of the first instance that is named.
named AS
(
    SELECT customer_id, provider, resource_id, argMinIf(instance_uid, first_seen, instance_uid != '') AS first_uid
    FROM rollups
    GROUP BY customer_id, provider, resource_id
),
newest_complete AS
(
    SELECT customer_id, provider, max(window_start) AS at
    FROM
    (
        SELECT customer_id, provider, window_start, argMax(b.status, b.batch) = 'ok' AS complete
        FROM metric_batches AS b
        WHERE dataset = 'resource' AND status IN ('ok', 'partial')
            AND window_start >= today - INTERVAL 7 DAY AND window_start < today
        GROUP BY customer_id, provider, window_start
    )
    WHERE complete
    GROUP BY customer_id, provider
),
lives AS
(
    SELECT
        customer_id,
        provider,
        resource_id,
        if(r.instance_uid = '', named.first_uid, r.instance_uid) AS uid,
        argMax(r.resource_name, window_start) AS resource_name,
        argMax(r.resource_type, window_start) AS resource_type,
        argMax(r.kind, window_start) AS kind,
        argMax(r.region, window_start) AS region,
        argMax(r.status, window_start) AS status,
        argMax(tuple(r.created_at), window_start).1 AS created_at,
        min(r.first_seen) AS first_seen,
        max(r.last_seen) AS last_seen,
        groupArray((window_start, r.known, r.up, r.stopped)) AS its_days
    FROM rollups AS r
    LEFT JOIN named USING (customer_id, provider, resource_id)
    GROUP BY customer_id, provider, resource_id, uid
),
measured AS
(
    SELECT
        customer_id, provider, resource_id,
        if(p.instance_uid = '', named.first_uid, toString(p.instance_uid)) AS uid,
        groupArray((window_start, p.n * p.period_seconds, p.total * p.period_seconds / 100)) AS its_days
    FROM performance_daily AS p
    LEFT JOIN named USING (customer_id, provider, resource_id)
    WHERE window_start >= today - INTERVAL 90 DAY AND window_start < today
        AND metric_name = 'uptime' AND statistic IN ('average', 'snapshot')
        AND (window_start, batch) IN
        (
            SELECT window_start, batch FROM published_batches
            WHERE dataset = 'performance_daily' AND window_start >= today - INTERVAL 90 DAY AND window_start < today
        )
    GROUP BY customer_id, provider, resource_id, uid
),
periods AS
(
    SELECT
        customer_id,
        provider,
        resource_id,
        l.uid AS uid,
        l.resource_name AS resource_name,
        l.resource_type AS resource_type,
        l.kind AS kind,
        l.region AS region,
        l.status AS status,
        l.last_seen AS last_seen,
        days,
        today - toIntervalDay(days) AS first_day,
        arrayFilter(d -> d.1 >= first_day, l.its_days) AS inventories,
        arrayFilter(d -> d.1 >= first_day, m.its_days) AS checks,
        least(l.first_seen, toStartOfFifteenMinutes(ifNull(l.created_at, l.first_seen))) AS made,
        if(l.last_seen < c.at, l.last_seen + INTERVAL 15 MINUTE, today) AS gone,
        intDiv(gone - greatest(first_day, made), 900) AS windows
    FROM lives AS l
    LEFT JOIN newest_complete AS c USING (customer_id, provider)
    LEFT JOIN measured AS m USING (customer_id, provider, resource_id, uid)
    ARRAY JOIN [30, 90] AS days
    WHERE notEmpty(inventories)
)
SELECT
    p.customer_id AS customer_id,
    p.provider AS provider,
    p.resource_type AS resource_type,
    if(is_of_type, '', p.resource_id) AS resource_id,
    if(is_of_type, '', p.uid) AS instance_uid,
    p.days AS days,   -- of the period
    if(is_of_type, '', any(p.resource_name)) AS resource_name,
    if(is_of_type, '', any(p.kind)) AS kind,
    if(is_of_type, '', any(p.region)) AS region,
    if(is_of_type, '', any(p.status)) AS status,
    uniqExact(p.resource_id, p.uid) AS resources,
    sum(arraySum(d -> d.2, p.inventories)) AS known_windows,   -- in how many windows its state is known
    sum(arraySum(d -> d.3, p.inventories)) / nullIf(known_windows, 0) AS running,   -- the share of them in which it was up, 0 to 1
    sum(arraySum(d -> d.4, p.inventories)) / nullIf(known_windows, 0) AS stopped,   -- the share of them in which it was stopped
    known_windows / sum(p.windows) AS known,   -- the share of its windows in which its state is known, 0 to 1
    sum(arraySum(d -> d.3, p.checks)) / nullIf(sum(arraySum(d -> d.2, p.checks)), 0) AS measured,   -- by its cloud, 0 to 1
    least(1, sum(arraySum(d -> d.2, p.checks)) / (900 * sum(p.windows))) AS measured_known,   -- the share of its time that was measured
    min(p.made) AS since,   -- when it was made, or first listed
    max(p.last_seen) AS last_seen   -- the last window that lists it
FROM periods AS p
ARRAY JOIN [false, true] AS is_of_type
GROUP BY customer_id, provider, resource_type, is_of_type, resource_id, instance_uid, days
