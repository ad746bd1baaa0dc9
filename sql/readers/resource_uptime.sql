-- How much of the 30 and 90 whole days before the window's day everything that runs was up, by the inventories that list
-- it, and beside that what its cloud measured. A row with an empty resource_id is of all resources of its type.
--
-- running: the share of the known windows in which the inventory had it running, available or in use. That is the state
--   that its cloud tells of it, at one moment in each window; of some kinds it is that of a subscription.
-- known: the share of its windows with an inventory that tells its state. A window without one is unknown, and not down.
--   Its windows are those of the period from when it was made, or first listed where the cloud does not tell that, to the
--   last that lists it where the newest complete inventory, at most a week before the day, does not: it is deleted, or
--   nothing looks there any more (`resource changes` says which).
-- measured: the mean of the cloud's own status checks or availability (the metric uptime); null where none is collected.
--
-- shows: window_start provider resource_type resource_name days running known measured measured_known stopped resources
--   status kind region last_seen resource_id instance_uid
-- ordered by: provider, resource_type, days, resource_id != '', running
-- if empty: no day is over since the first inventory of anything that runs
-- covers: 1 day
-- computed from: resource/days performance/daily
-- reads: resource/days since day - 90 days to day, performance/daily since day - 90 days to day, resource since
--   day - 7 days to day
-- kept: 7 days
-- key: customer_id provider resource_type resource_id instance_uid days
-- types: resource_id String, instance_uid String, resource_name String, days UInt8
WITH
toStartOfDay({window:DateTime('UTC')}) AS today,
today - INTERVAL 30 DAY AS last_30,
today - INTERVAL 90 DAY AS last_90,
-- The rollups are read once, and the few that tell no uid are given theirs after that: the first that is named.
instances AS
(
    SELECT
        customer_id,
        provider,
        resource_id,
        r.instance_uid AS uid,
        argMax((r.resource_name, r.resource_type, r.kind, r.region, r.status, r.created_at), window_start) AS facts,
        min(r.first_seen) AS first_seen,
        max(r.last_seen) AS last_seen,
        [sumIf(r.known, window_start >= last_30), sum(r.known)] AS known,
        [sumIf(r.up, window_start >= last_30), sum(r.up)] AS up,
        [sumIf(r.stopped, window_start >= last_30), sum(r.stopped)] AS stopped
    FROM resource_days_current AS r
    WHERE window_start >= last_90 AND window_start < today
    GROUP BY customer_id, provider, resource_id, uid
),
lives AS
(
    SELECT
        customer_id,
        provider,
        resource_id,
        any(i.first_uid) AS first_uid,
        if(i.uid = '', i.first_uid, i.uid) AS instance_uid,
        argMax(i.facts, i.last_seen) AS facts,
        min(i.first_seen) AS first_seen,
        max(i.last_seen) AS last_seen,
        sumForEach(i.known) AS known,
        sumForEach(i.up) AS up,
        sumForEach(i.stopped) AS stopped
    FROM
    (
        SELECT
            *,
            argMinIf(uid, first_seen, uid != '') OVER (PARTITION BY customer_id, provider, resource_id) AS first_uid
        FROM instances
    ) AS i
    GROUP BY customer_id, provider, resource_id, if(i.uid = '', i.first_uid, i.uid)
),
checks AS
(
    SELECT customer_id, provider, resource_id, groupArray((uid, seconds, percents)) AS of_uids
    FROM
    (
        SELECT
            customer_id,
            provider,
            resource_id,
            toString(p.instance_uid) AS uid,
            [sumIf(p.n * p.period_seconds, window_start >= last_30), sum(p.n * p.period_seconds)] AS seconds,
            [sumIf(p.total * p.period_seconds, window_start >= last_30), sum(p.total * p.period_seconds)] AS percents
        FROM performance_daily AS p
        WHERE window_start >= last_90 AND window_start < today
            AND metric_name = 'uptime' AND statistic IN ('average', 'snapshot')
            AND (window_start, batch) IN
            (
                SELECT window_start, batch FROM published_batches
                WHERE dataset = 'performance_daily' AND window_start >= last_90 AND window_start < today
            )
        GROUP BY customer_id, provider, resource_id, uid
    )
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
periods AS
(
    SELECT
        customer_id,
        provider,
        resource_id,
        instance_uid,
        l.facts AS facts,
        l.last_seen AS last_seen,
        least(l.first_seen, toStartOfFifteenMinutes(ifNull(facts.6, l.first_seen))) AS made,
        if(l.last_seen < c.at, l.last_seen + INTERVAL 15 MINUTE, today) AS gone,
        period.1 AS days,
        intDiv(gone - greatest(today - toIntervalDay(days), made), 900) AS windows,
        l.known[period.2] AS known,
        l.up[period.2] AS up,
        l.stopped[period.2] AS stopped,
        arrayFilter(x -> x.1 = instance_uid OR (x.1 = '' AND instance_uid = first_uid), m.of_uids) AS own,
        arraySum(x -> x.2[period.2], own) AS seconds,
        arraySum(x -> x.3[period.2], own) AS percents
    FROM lives AS l
    LEFT JOIN newest_complete AS c USING (customer_id, provider)
    LEFT JOIN checks AS m USING (customer_id, provider, resource_id)
    ARRAY JOIN [(30, 1), (90, 2)] AS period
    WHERE l.last_seen >= today - toIntervalDay(days)
)
SELECT
    p.customer_id AS customer_id,
    p.provider AS provider,
    p.facts.2 AS resource_type,
    if(is_of_type, '', p.resource_id) AS resource_id,
    if(is_of_type, '', p.instance_uid) AS instance_uid,
    p.days AS days,   -- of the period
    if(is_of_type, '', any(p.facts.1)) AS resource_name,
    if(is_of_type, '', any(p.facts.3)) AS kind,
    if(is_of_type, '', any(p.facts.4)) AS region,
    if(is_of_type, '', any(p.facts.5)) AS status,
    count() AS resources,
    sum(p.known) AS known_windows,   -- in how many windows its state is known
    sum(p.up) / nullIf(known_windows, 0) AS running,   -- the share of them in which it was up, 0 to 1
    sum(p.stopped) / nullIf(known_windows, 0) AS stopped,   -- the share of them in which it was stopped
    known_windows / sum(p.windows) AS known,   -- the share of its windows in which its state is known, 0 to 1
    sum(p.percents) / 100 / nullIf(sum(p.seconds), 0) AS measured,   -- by its cloud, 0 to 1
    least(1, sum(p.seconds) / (900 * sum(p.windows))) AS measured_known,   -- the share of its time that was measured
    min(p.made) AS since,   -- when it was made, or first listed
    max(p.last_seen) AS last_seen   -- the last window that lists it
FROM periods AS p
ARRAY JOIN [false, true] AS is_of_type
GROUP BY customer_id, provider, resource_type, is_of_type, resource_id, instance_uid, days
