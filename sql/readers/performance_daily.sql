-- A day of every series in one row, from its hourly rollups. `window` is the day.
--
-- A total of a whole day, which comes after it, has a row of its own in the day that it came in; first_at is its day.
--
-- shows: window_start provider resource_type resource_name metric_name statistic total unit n expected minimum
--   maximum first_at region resource_id instance_uid
-- covers: 1 day
-- computed from: performance/hourly
-- reads: performance/hourly
-- kept: 90 days
-- key: customer_id provider resource_type resource_id instance_uid metric_name statistic first_at
-- table: performance_daily
WITH
series AS
(
    SELECT
        customer_id,
        provider,
        resource_id,
        instance_uid,
        metric_name,
        statistic,
        if(h.period_seconds >= 86400, h.first_at, {window:DateTime('UTC')}) AS of,
        argMax(h.resource_name, window_start) AS resource_name,
        argMax(h.resource_type, window_start) AS resource_type,
        argMax(h.region, window_start) AS region,
        argMax(h.metric_type, window_start) AS metric_type,
        argMax(h.unit, window_start) AS unit,
        argMax(h.period_seconds, window_start) AS period_seconds,
        sum(h.n) AS n,
        sum(h.total) AS total,
        min(h.minimum) AS minimum,
        max(h.maximum) AS maximum,
        min(h.first_at) AS first_at,
        max(window_start) AS last_hour,
        groupArrayArray(h.values) AS values
    FROM performance_hourly AS h
    WHERE window_start >= {window:DateTime('UTC')} AND window_start < {window:DateTime('UTC')} + INTERVAL 1 DAY
        AND (window_start, batch) IN
            (SELECT window_start, batch FROM published_batches WHERE dataset = 'performance_hourly')
    GROUP BY customer_id, provider, resource_id, instance_uid, metric_name, statistic, of
),
-- Hours that tell no id, as those of before ids were kept, belong to the first id of their series.
named AS
(
    SELECT
        * EXCEPT (instance_uid),
        if(empty(series.instance_uid), argMin(series.instance_uid, (empty(series.instance_uid), first_at)) OVER (
            PARTITION BY customer_id, provider, resource_id, metric_name, statistic), series.instance_uid)
            AS instance_uid
    FROM series
)
SELECT
    customer_id,
    provider,
    resource_id,
    instance_uid,
    argMax(named.resource_name, last_hour) AS resource_name,
    argMax(named.resource_type, last_hour) AS resource_type,
    argMax(named.region, last_hour) AS region,
    argMax(named.metric_type, last_hour) AS metric_type,
    metric_name,
    statistic,
    argMax(named.unit, last_hour) AS unit,
    argMax(named.period_seconds, last_hour) AS period_seconds,
    sum(named.n) AS n,
    greatest(1, intDiv(86400, greatest(1, period_seconds))) AS expected,
    sum(named.total) AS total,
    min(named.minimum) AS minimum,
    max(named.maximum) AS maximum,
    min(named.first_at) AS first_at,
    arraySort(groupArrayArray(named.values)) AS values   -- sorted; each at most 0.4 % off
FROM named
GROUP BY customer_id, provider, resource_id, instance_uid, metric_name, statistic, of
