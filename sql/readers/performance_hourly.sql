-- An hour of every series in one row, from the published points of its four windows. `window` is the hour.
--
-- A total of a whole day, which comes after it, has a row of its own in the hour that it came in; first_at is its day.
--
-- shows: window_start provider resource_type resource_name metric_name statistic total unit n expected minimum
--   maximum first_at region resource_id instance_uid
-- covers: 1 hour
-- reads: performance
-- kept: 90 days
-- key: customer_id provider resource_type resource_id instance_uid metric_name statistic first_at
-- types: expected UInt32
-- table: performance_hourly
WITH
series AS
(
    SELECT
        p.customer_id AS customer_id,
        p.provider AS provider,
        resource_id,
        p.instance_uid AS instance_uid,
        metric_name,
        statistic,
        if(p.period_seconds >= 86400, p.timestamp, {window:DateTime('UTC')}) AS of,
        argMax(p.resource_name, p.timestamp) AS resource_name,
        argMax(p.resource_type, p.timestamp) AS resource_type,
        argMax(p.region, p.timestamp) AS region,
        argMax(p.metric_type, p.timestamp) AS metric_type,
        argMax(p.unit, p.timestamp) AS unit,
        argMax(p.period_seconds, p.timestamp) AS period_seconds,
        count() AS n,
        sum(metric_value) AS total,
        min(metric_value) AS minimum,
        max(metric_value) AS maximum,
        min(p.timestamp) AS first_at,
        max(p.timestamp) AS last_at,
        -- The 8 highest binary digits of a value, which say it to 0.4 %: a third of the bytes.
        groupArray(reinterpretAsFloat32(
            bitAnd(reinterpretAsUInt32(toFloat32(metric_value)) + 0x8000, 0xFFFF0000))) AS values
    FROM performance_metrics AS p
    LEFT SEMI JOIN
    (
        SELECT customer_id, provider, window_start, max(b.batch) AS batch
        FROM metric_batches AS b
        WHERE dataset = 'performance' AND status IN ('ok', 'partial')
            AND window_start >= {window:DateTime('UTC')}
            AND window_start < {window:DateTime('UTC')} + INTERVAL 1 HOUR
        GROUP BY customer_id, provider, window_start
    ) AS newest USING (customer_id, provider, window_start, batch)
    WHERE p.window_start >= {window:DateTime('UTC')} AND p.window_start < {window:DateTime('UTC')} + INTERVAL 1 HOUR
    GROUP BY customer_id, provider, resource_id, instance_uid, metric_name, statistic, of
),
-- Points that tell no id, as those of before ids were kept, belong to the first id of their series.
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
    argMax(named.resource_name, last_at) AS resource_name,
    argMax(named.resource_type, last_at) AS resource_type,
    argMax(named.region, last_at) AS region,
    argMax(named.metric_type, last_at) AS metric_type,
    metric_name,
    statistic,
    argMax(named.unit, last_at) AS unit,
    argMax(named.period_seconds, last_at) AS period_seconds,
    sum(named.n) AS n,
    greatest(1, intDiv(3600, greatest(1, period_seconds))) AS expected,
    sum(named.total) AS total,
    min(named.minimum) AS minimum,
    max(named.maximum) AS maximum,
    min(named.first_at) AS first_at,
    arraySort(groupArrayArray(named.values)) AS values   -- sorted; each at most 0.4 % off
FROM named
GROUP BY customer_id, provider, resource_id, instance_uid, metric_name, statistic, of
