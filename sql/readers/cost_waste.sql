-- Resources of the newest inventory, at most a day old, that cost and seem to be of no use, with what they cost a month
-- and what shows it. The first reason that holds is told:
--
-- unattached: what is available, of a kind to be attached (`attachable`), and attached to nothing, nor was in the first
--   inventory of any of the three days before the window's day: a disk changes machines.
-- machine_stopped: a volume whose machines are all stopped, and were up on none of those three days. They are found by
--   their ids or the end of these, in the same account and region; a volume whose machine is not in the inventory is not
--   told.
-- stopped: anything stopped that was up on none of those three days, and was billed on days on which it did not run, or
--   has a list price as it is. Three days, since schedules stop machines for a night or a weekend, and what is restarted
--   is stopped for a window; of days that are not known, nothing says that it was up.
-- old_snapshot: a copy of a disk (`snapshot_of`) that was made more than 90 days ago, where snapshots are listed.
-- without_nodes: a Kubernetes cluster that runs, is charged for, and had no node in the first inventory of any of the
--   seven days before the window's day, nor has any now.
-- idle: a running machine that had next to no CPU time and next to no network and disk traffic, a load balancer without
--   a request or byte, and a database without a connection or, where connections are not told, without any CPU time,
--   network or disk traffic to speak of, over the seven days before the window's day and that day so far. The figures
--   begin the SELECT. Replicas may stand by, and are not told; caches are not either, for they need no CPU time.
--
-- What is not known is not idle: most of the seven days' points must be there, of a machine's network too. What is not
-- known of its disks, or of a database's network and disks, is told with the evidence. Some clouds write no point for a load
-- balancer while nothing comes through (`silent_when_idle`); there, seven days of answers without points count.
--
-- monthly_amount: the mean of the days that were billed in the last 14 for 730 hours, else the newest estimate, at most a
--   day old, for 730 hours. Of what is stopped the cheapest of the days that it was stopped all through, by at least 90 %
--   of their inventories and none that says otherwise, where it is charged for on the newest of them that the bill of its
--   account reaches; else the estimate since the newest inventory.
--
-- shows: window_start provider resource_type resource_name monthly_amount currency reason amount_from evidence
--   status region as_of complete resource_id
-- ordered by: currency DESC, monthly_amount DESC
-- if empty: nothing that costs is known to be unattached, stopped, idle, old or without nodes
-- computed from: cost/daily performance/daily resource/days
-- empty without: resource_metrics of any time
-- reads: resource last 1 day by as_of, resource since day - 7 days, resource/days since day - 14 days to day,
--   performance/daily since day - 7 days, performance last 7 days, cost/daily since day - 14 days, cost last 1 day,
--   cost_billed since day, coverage, machine_sizes
-- kept: 90 days
-- key: customer_id provider resource_type resource_id
-- types: resource_id String, resource_name String, evidence String
WITH
toStartOfDay({window:DateTime('UTC')}) - INTERVAL 7 DAY AS week_start,
-- Idle is a machine below both figures of CPU, in percent, and below those of its network and disks, in bytes a second
-- in and out together, which agents and updates are not above; and a load balancer without any traffic,
5 AS idle_below_mean,
20 AS idle_below_highest,   -- of 5 minutes
3000 AS idle_below_network,   -- 260 MB a day; 2,000 in and 1,000 out are what recommendations of idle machines go by
100000 AS idle_below_disk,
-- a database, which has some work with itself (backups, probes, checkpoints), below these,
2 AS database_idle_below_mean,
5 AS database_idle_below_highest,
20000 AS database_idle_below_network,
200000 AS database_idle_below_disk,
90 AS old_after,   -- days, of a snapshot
['request_rate', 'network_total', 'network_in', 'network_out'] AS traffic_metrics,
['network_total', 'network_in', 'network_out', 'disk_total', 'disk_read', 'disk_write'] AS work_metrics,
-- of which this share of the points is known.
0.9 AS known_enough,
-- How long what is stopped or attached to nothing must have been so, in whole days.
3 AS unused_days,
toDecimal256('100000000000000000000', 18) AS most,   -- 1e20: more has no place in the table
toStartOfDay({window:DateTime('UTC')}) - toIntervalDay(unused_days) AS unused_since,
inventory AS
(
    SELECT
        *,
        lower(splitByChar('/', resource_id)[-1]) AS short_id,
        JSONExtractString(metadata, 'zone') AS zone,
        arrayFilter(x -> x != '', arrayMap(x -> lower(trimBoth(x)),
            splitByChar(',', JSONExtractString(metadata, 'attached_to')))) AS attached_to
    FROM newest_inventories(window = {window:DateTime('UTC')})
),
-- What was up on one of the days, and what was attached to something in the first inventory of one.
ran AS
(
    SELECT customer_id, provider, resource_id
    FROM resource_days_current AS r
    WHERE window_start >= unused_since AND window_start < toStartOfDay({window:DateTime('UTC')}) AND r.up > 0
),
was_attached AS
(
    SELECT customer_id, provider, resource_id
    FROM resource_metrics AS r
    WHERE r.attachable AND r.status = 'in_use'
        AND window_start >= unused_since AND window_start < toStartOfDay({window:DateTime('UTC')})
        AND (customer_id, provider, window_start, batch) IN
        (
            SELECT customer_id, provider, min(b.window_start), argMin(b.batch, b.window_start)
            FROM published_batches AS b
            WHERE dataset = 'resource' AND b.window_start >= unused_since
                AND b.window_start < toStartOfDay({window:DateTime('UTC')})
            GROUP BY customer_id, provider, toDate(b.window_start, 'UTC')
        )
),
-- The volumes all of whose machines are known and stopped. Of machines of one name it is the one that the volume names
-- in full, else the one in its zone, if there is one.
parked AS
(
    SELECT customer_id, provider, resource_id,
        arrayStringConcat(arraySort(groupUniqArray(named)), ', ') AS machines
    FROM
    (
        SELECT
            v.customer_id AS customer_id, v.provider AS provider, v.resource_id AS resource_id,
            v.attached_to AS attached_to, v.machine AS machine,
            toString(m.resource_name) AS named, m.is_off AS is_off,
            v.zone != '' AND v.zone = m.zone AS is_near,
            max(is_near) OVER (PARTITION BY customer_id, provider, resource_id, machine) AS is_any_near
        FROM
        (
            SELECT
                customer_id, provider, account_id, region, resource_id, zone, attached_to,
                arrayJoin(attached_to) AS machine, splitByChar('/', machine)[-1] AS short_id
            FROM inventory
            WHERE resource_type = 'volume'
        ) AS v
        INNER JOIN
        (
            SELECT *, status = 'stopped' AND (customer_id, provider, resource_id) NOT IN (SELECT * FROM ran) AS is_off
            FROM inventory
            WHERE resource_type = 'compute'
        ) AS m
            USING (customer_id, provider, account_id, region, short_id)
        WHERE position(v.machine, '/') = 0 OR v.machine = lower(m.resource_id)
    )
    WHERE is_near = is_any_near
    GROUP BY customer_id, provider, resource_id
    HAVING min(is_off) AND uniqExact(machine) = any(length(attached_to))
),
-- What was replaced under its name is judged by its own points. Days without a uid are its own from when it was made.
instances AS
(
    SELECT customer_id, provider, resource_id, instance_uid AS uid, ifNull(created_at, toDateTime(0, 'UTC')) AS made
    FROM inventory
),
metrics AS
(
    SELECT
        customer_id, provider, resource_id, metric_name,
        sum(p.n) AS points,
        least(1, points / (7 * max(p.expected))) AS known,
        sum(p.total) / points AS mean,
        max(p.maximum) AS highest
    FROM performance_daily AS p
    INNER JOIN instances AS i USING (customer_id, provider, resource_id)
    WHERE window_start >= week_start AND window_start <= {window:DateTime('UTC')}
        AND (p.instance_uid = i.uid OR (p.instance_uid = '' AND i.made < window_start + INTERVAL 1 DAY))
        AND (statistic = 'average' OR (statistic = 'snapshot' AND resource_type = 'database'))
        AND (metric_name IN ('cpu_utilization', 'connections')
            OR (resource_type = 'load_balancer' AND has(traffic_metrics, metric_name))
            OR (resource_type IN ('compute', 'database') AND has(work_metrics, metric_name)))
        AND (window_start, batch) IN
        (
            SELECT window_start, batch FROM published_batches
            WHERE dataset = 'performance_daily'
                AND window_start >= week_start AND window_start <= {window:DateTime('UTC')}
        )
    GROUP BY customer_id, provider, resource_id, metric_name
),
performance AS
(
    SELECT
        customer_id, provider, resource_id,
        maxIf(m.known, metric_name = 'cpu_utilization') AS cpu_known,
        maxIf(m.mean, metric_name = 'cpu_utilization') AS cpu_mean,
        maxIf(m.highest, metric_name = 'cpu_utilization') AS cpu_highest,
        maxIf(m.known, metric_name = 'connections') AS connections_known,
        maxIf(m.highest, metric_name = 'connections') AS connections,
        maxIf(m.known, has(traffic_metrics, metric_name)) AS traffic_known,
        maxIf(m.highest, has(traffic_metrics, metric_name)) AS traffic,
        -- Bytes a second both ways, and the share of the points that are known: of the way that is known less.
        greatest(sumIf(m.mean, metric_name IN ('network_in', 'network_out')),
            maxIf(m.mean, metric_name = 'network_total')) AS network,
        greatest(least(maxIf(m.known, metric_name = 'network_in'), maxIf(m.known, metric_name = 'network_out')),
            maxIf(m.known, metric_name = 'network_total')) AS network_known,
        greatest(sumIf(m.mean, metric_name IN ('disk_read', 'disk_write')),
            maxIf(m.mean, metric_name = 'disk_total')) AS disk,
        greatest(least(maxIf(m.known, metric_name = 'disk_read'), maxIf(m.known, metric_name = 'disk_write')),
            maxIf(m.known, metric_name = 'disk_total')) AS disk_known
    FROM metrics AS m
    GROUP BY customer_id, provider, resource_id
),
-- Load balancers that were asked for their traffic for seven days, and had none to tell.
silent AS
(
    SELECT customer_id, provider, resource_id, 1 AS is_silent
    FROM coverage_current
    WHERE has(traffic_metrics, metric_name)
        AND (customer_id, provider, resource_id) IN
        (
            SELECT customer_id, provider, resource_id FROM inventory
            WHERE resource_type = 'load_balancer' AND silent_when_idle
        )
        AND (customer_id, provider) IN
        (
            SELECT customer_id, provider FROM published_batches
            WHERE dataset = 'performance'
                AND window_start > {window:DateTime('UTC')} - INTERVAL 7 DAY AND window_start <= {window:DateTime('UTC')}
            GROUP BY customer_id, provider
            HAVING count() >= known_enough * 7 * 96
        )
    GROUP BY customer_id, provider, resource_id
    HAVING min(state = 'no_points' AND since <= {window:DateTime('UTC')} - INTERVAL 7 DAY)
),
-- The clusters that had nodes on one of seven days, or did not tell, and since when each is known.
staffed AS
(
    SELECT
        customer_id, provider, resource_id,
        max(ifNull(r.capacity, 1)) AS most_nodes,
        min(r.window_start) < week_start + INTERVAL 1 DAY AS is_old
    FROM resource_metrics AS r
    WHERE resource_type = 'kubernetes' AND window_start >= week_start AND window_start <= {window:DateTime('UTC')}
        AND (customer_id, provider, window_start, batch) IN
        (
            SELECT customer_id, provider, min(b.window_start), argMin(b.batch, b.window_start)
            FROM published_batches AS b
            WHERE dataset = 'resource' AND b.window_start >= week_start AND b.window_start <= {window:DateTime('UTC')}
            GROUP BY customer_id, provider, toDate(b.window_start, 'UTC')
        )
    GROUP BY customer_id, provider, resource_id
),
-- Databases of a type, which caches and those by use have none of.
typed AS
(
    SELECT DISTINCT customer_id, provider, resource_id, 1 AS has_type
    FROM machine_sizes
    WHERE window_start > {window:DateTime('UTC')} - INTERVAL 2 DAY AND window_start <= {window:DateTime('UTC')}
),
-- What is stopped, and the days on which it did not run: on the others it cost what it does not cost now. Of types that
-- do not run, no day is told apart.
stopped AS
(
    SELECT
        customer_id, provider, account_id, resource_id, as_of,
        resource_type IN ('compute', 'database', 'load_balancer', 'kubernetes', 'serverless') AS may_run
    FROM inventory
    WHERE status = 'stopped'
),
days_stopped AS
(
    SELECT customer_id, provider, resource_id, toDate(window_start, 'UTC') AS charge_day
    FROM resource_days_current AS r
    WHERE window_start >= toStartOfDay({window:DateTime('UTC')}) - INTERVAL 14 DAY
        AND window_start < toStartOfDay({window:DateTime('UTC')})
        AND (customer_id, provider, resource_id) IN (SELECT customer_id, provider, resource_id FROM stopped)
    GROUP BY customer_id, provider, resource_id, charge_day
    HAVING sum(r.up) = 0 AND sum(r.stopped) >= known_enough * 96
),
spent AS
(
    SELECT
        customer_id, provider, sub_account_id AS account_id, resource_id, currency, charge_day,
        sum(c.billed) AS billed,
        countIf(c.cost_kind = 'billed') > 0 AS is_billed
    FROM costs_until(first = toDate({window:DateTime('UTC')}, 'UTC') - 14, window = {window:DateTime('UTC')}) AS c
    WHERE resource_id != '' AND charge_category = 'Usage'
    GROUP BY customer_id, provider, account_id, resource_id, currency, charge_day
),
-- The newest estimate by itself: a day's sum is of as many windows as were collected. Beyond a month's cap of hours it is
-- 0, which says nothing of the next month.
priced AS
(
    SELECT
        customer_id, provider, sub_account_id AS account_id, resource_id, currency,
        argMax(c.amount, (c.amount != 0, c.window_start)) AS estimate,
        argMax(JSONExtractString(c.metadata, 'priced'), (c.amount != 0, c.window_start)) AS priced
    FROM cost_metrics_current AS c
    LEFT JOIN stopped AS o USING (customer_id, provider, resource_id)
    WHERE window_start > {window:DateTime('UTC')} - INTERVAL 1 DAY AND window_start <= {window:DateTime('UTC')}
        AND cost_kind = 'estimated' AND resource_id != '' AND window_start >= o.as_of
    GROUP BY customer_id, provider, account_id, resource_id, currency
    HAVING estimate != 0
),
newest_stopped AS
(
    SELECT customer_id, provider, account_id, resource_id, max(d.charge_day) AS newest_day
    FROM days_stopped AS d
    INNER JOIN stopped AS o USING (customer_id, provider, resource_id)
    INNER JOIN
    (
        SELECT customer_id, provider, account_id, max(charge_day) AS until
        FROM spent
        WHERE is_billed
        GROUP BY customer_id, provider, account_id
    ) AS b USING (customer_id, provider, account_id)
    WHERE d.charge_day <= b.until
    GROUP BY customer_id, provider, account_id, resource_id
),
bills AS
(
    SELECT
        customer_id, provider, account_id, resource_id, currency,
        count() AS days_billed,
        sum(s.billed) AS total_billed,
        min(s.billed) AS least_billed,
        max(charge_day) AS last_billed
    FROM spent AS s
    LEFT JOIN newest_stopped AS n USING (customer_id, provider, account_id, resource_id)
    WHERE is_billed
        AND ((customer_id, provider, resource_id) NOT IN
                (SELECT customer_id, provider, resource_id FROM stopped WHERE may_run)
            OR (customer_id, provider, resource_id, charge_day) IN (SELECT * FROM days_stopped))
    GROUP BY customer_id, provider, account_id, resource_id, currency
    HAVING total_billed > 0 AND last_billed >= any(n.newest_day)
),
amounts AS
(
    SELECT
        customer_id, provider, account_id, resource_id, currency,
        b.days_billed AS days_billed, b.total_billed AS total_billed, b.least_billed AS least_billed,
        b.last_billed AS last_billed, p.priced != '' AS has_estimate, p.estimate AS estimate, p.priced AS priced
    FROM bills AS b
    FULL JOIN priced AS p USING (customer_id, provider, account_id, resource_id, currency)
    -- What was charged for in two currencies is told in that of the newest bill.
    ORDER BY days_billed > 0 DESC, last_billed DESC, days_billed DESC, estimate > 0 DESC, currency
    LIMIT 1 BY customer_id, provider, account_id, resource_id
),
judged AS
(
    SELECT
        customer_id, provider, resource_id,
        account_id, i.region AS region, i.kind AS kind, i.resource_name AS resource_name,
        i.resource_type AS resource_type, i.status AS status, i.as_of AS as_of, i.complete AS complete,
        i.capacity AS capacity, i.unit AS unit,
        a.currency AS currency,
        a.days_billed AS days_billed,
        a.has_estimate AS has_estimate,
        a.last_billed AS last_billed,
        a.priced AS priced,
        p.cpu_known >= known_enough AND p.cpu_mean < idle_below_mean AND p.cpu_highest < idle_below_highest
            AND p.network_known >= known_enough AND p.network < idle_below_network
            AND p.disk < idle_below_disk AS is_unused,
        p.traffic_known >= known_enough AND p.traffic = 0 AS is_without_traffic,
        -- Points that came late are no part of the state.
        s.is_silent = 1 AND p.traffic = 0 AS was_silent,
        p.connections_known > 0 AS tells_connections,
        p.connections_known >= known_enough AND p.connections = 0 AS is_without_connections,
        NOT tells_connections AND t.has_type = 1 AND p.cpu_known >= known_enough
            AND p.cpu_mean < database_idle_below_mean AND p.cpu_highest < database_idle_below_highest
            AND p.network < database_idle_below_network AND p.disk < database_idle_below_disk AS is_without_work,
        JSONExtractString(i.metadata, 'replica_of') != ''
            OR positionCaseInsensitive(JSONExtractString(i.metadata, 'replication_role'), 'replica') > 0 AS is_replica,
        multiIf(
            i.attachable AND i.status = 'available' AND empty(i.attached_to)
                AND (customer_id, provider, resource_id) NOT IN (SELECT * FROM was_attached), 'unattached',
            v.machines != '', 'machine_stopped',
            i.status = 'stopped' AND (customer_id, provider, resource_id) NOT IN (SELECT * FROM ran), 'stopped',
            JSONExtractString(i.metadata, 'snapshot_of') != '' AND i.status = 'available'
                AND i.created_at < {window:DateTime('UTC')} - toIntervalDay(old_after), 'old_snapshot',
            i.resource_type = 'compute' AND i.status = 'running' AND is_unused, 'idle',
            i.resource_type = 'load_balancer' AND (is_without_traffic OR was_silent), 'idle',
            i.resource_type = 'database' AND i.status IN ('running', 'available') AND NOT is_replica
                AND (is_without_connections OR is_without_work), 'idle',
            i.resource_type = 'kubernetes' AND i.unit = 'nodes' AND i.capacity = 0
                AND i.status IN ('running', 'available') AND n.is_old AND n.most_nodes = 0, 'without_nodes',
            '') AS reason,
        -- Wide enough for the product, whatever the amount.
        multiIf(
            a.days_billed > 0, toDecimal256(if(reason = 'stopped', a.least_billed, a.total_billed / a.days_billed), 18)
                * 730 / 24,
            a.has_estimate, toDecimal256(a.estimate, 18) * 4 * 730,
            NULL) AS monthly,
        ifNull(abs(monthly) >= most, false) AS is_too_large,
        if(isNull(monthly) OR is_too_large, NULL, toDecimal128(greatest(least(monthly, most), -most), 18)) AS monthly_amount,
        multiIf(
            reason = 'unattached', 'attached to nothing',
            reason = 'machine_stopped', concat('attached to ', v.machines, ', stopped'),
            reason = 'stopped', 'stopped, and still charged for',
            reason = 'without_nodes', 'no node for 7 days',
            reason = 'old_snapshot', format('a copy of {} of {}', JSONExtractString(i.metadata, 'snapshot_of'),
                toString(toDate(ifNull(i.created_at, 0), 'UTC'))),
            i.resource_type = 'database' AND is_without_connections,
                format('no connection over 7 days of which {} % are known', toString(round(100 * p.connections_known))),
            reason = 'idle' AND i.resource_type IN ('compute', 'database'),
                format('CPU {} % on average and {} % in its highest 5 minutes, {} over 7 days of which {} % are known',
                    toString(round(p.cpu_mean, 1)), toString(round(p.cpu_highest, 1)),
                    format('network {}, disks {},',
                        if(p.network_known < known_enough, 'not known',
                            concat(formatReadableDecimalSize(p.network), '/s')),
                        if(p.disk_known < known_enough, 'not known', concat(formatReadableDecimalSize(p.disk), '/s'))),
                    toString(round(100 * p.cpu_known))),
            is_without_traffic, format('no request and no byte over 7 days of which {} % are known',
                toString(round(100 * p.traffic_known))),
            'no request and no byte in 7 days: the cloud was asked, and had no points') AS seen
    FROM inventory AS i
    LEFT JOIN parked AS v USING (customer_id, provider, resource_id)
    LEFT JOIN performance AS p USING (customer_id, provider, resource_id)
    LEFT JOIN silent AS s USING (customer_id, provider, resource_id)
    LEFT JOIN staffed AS n USING (customer_id, provider, resource_id)
    LEFT JOIN typed AS t USING (customer_id, provider, resource_id)
    LEFT JOIN amounts AS a USING (customer_id, provider, account_id, resource_id)
)
SELECT
    customer_id,
    provider,
    account_id,
    region,
    kind,
    resource_id,
    resource_name,
    resource_type,
    status,
    reason,
    monthly_amount,
    currency,
    multiIf(days_billed > 0, 'billed', has_estimate, 'estimated', 'unknown') AS amount_from,
    concat(seen, if(isNull(capacity), '', concat('; ', toString(capacity), ' ', unit)), '; ', multiIf(
        amount_from = 'billed', format('billed on {} days to {}', toString(days_billed), toString(last_billed)),
        amount_from = 'estimated', concat('list price of ', priced),
        'neither bill nor price list tells what it costs'),
        if(is_too_large, '; a month of it is more than an amount can be', '')) AS evidence,
    as_of,
    complete   -- false: that inventory is partial
FROM judged
WHERE reason != '' AND (ifNull(monthly > 0, false) OR (isNull(monthly) AND reason NOT IN ('stopped', 'without_nodes')))
