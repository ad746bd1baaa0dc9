-- Where a figure left all that it was in two weeks, within the 24 hours that end with the hour `window`: a ranked list,
-- and no alert. The running hour takes part as far as it was collected.
--
-- An hour leaves it whose highest value is above every one, or whose lowest is below every one, of the 14 days before
-- its own and of its own day so far, by more than a quarter of the usual range. Then the series is quiet for 24 hours,
-- and what is told is how far it went since. Of fewer than 3 days, and of totals of whole days, nothing is told.
--
-- usual_range: from the middle one of the days' lowest values to the middle one of their highest, and at least 1 % of
--   the largest value.
-- ranges: how far the value is beyond what was before, in usual ranges; null where all of before was 0.
--
-- shows: window_start provider resource_type resource_name metric_name statistic ranges direction value unit
--   minimum_before maximum_before since days_before usual_range region resource_id instance_uid
-- ordered by: ranges DESC NULLS LAST
-- if empty: no figure left what it was in the two weeks before, or fewer than 3 days of it are known
-- covers: 1 hour
-- computed from: performance/hourly performance/daily
-- reads: performance/hourly since day - 3 days, performance/daily since day - 17 days
-- kept: 30 days
-- key: customer_id provider resource_type resource_id instance_uid metric_name statistic
-- types: days_before UInt8
WITH
{window:DateTime('UTC')} + INTERVAL 1 HOUR AS end,
end - INTERVAL 72 HOUR AS looked_back,   -- what was told before is found again, so that any hour can be computed again
toStartOfDay(looked_back) AS first_hour,
toStartOfDay({window:DateTime('UTC')}) AS this_day,
days_published AS
(
    SELECT window_start, batch
    FROM published_batches
    WHERE dataset = 'performance_daily' AND window_start >= first_hour - INTERVAL 14 DAY AND window_start < this_day
),
hours_published AS
(
    SELECT window_start, batch
    FROM published_batches
    WHERE dataset = 'performance_hourly' AND window_start >= first_hour AND window_start < end
),
-- A few of all series: only what is beyond all whole days that every hour of the last 24 is compared with may have left
-- them. All else is read of these alone.
far AS
(
    SELECT customer_id, provider, resource_id, metric_name, statistic
    FROM
    (
        SELECT
            customer_id, provider, resource_id, instance_uid, metric_name, statistic, minimum, maximum, true AS is_day
        FROM performance_daily
        WHERE window_start >= this_day - INTERVAL 14 DAY AND window_start < toStartOfDay(end - INTERVAL 24 HOUR)
            AND period_seconds < 86400 AND (window_start, batch) IN days_published
        UNION ALL
        SELECT
            customer_id, provider, resource_id, instance_uid, metric_name, statistic, minimum, maximum, false AS is_day
        FROM performance_hourly
        WHERE window_start >= end - INTERVAL 24 HOUR AND window_start < end AND period_seconds < 86400
            AND (window_start, batch) IN hours_published
    )
    GROUP BY customer_id, provider, resource_id, instance_uid, metric_name, statistic
    HAVING
        countIf(NOT is_day) > 0
        AND (countIf(is_day) = 0 OR maxIf(maximum, NOT is_day) > maxIf(maximum, is_day)
            OR minIf(minimum, NOT is_day) < minIf(minimum, is_day))
),
spans AS
(
    SELECT *
    FROM
    (
        SELECT
            customer_id, provider, resource_id, instance_uid, metric_name, statistic, resource_name, resource_type,
            region, metric_type, unit, window_start, first_at, minimum, maximum, true AS is_day
        FROM performance_daily
        WHERE window_start >= first_hour - INTERVAL 14 DAY AND window_start < this_day AND period_seconds < 86400
            AND (window_start, batch) IN days_published
        UNION ALL
        SELECT
            customer_id, provider, resource_id, instance_uid, metric_name, statistic, resource_name, resource_type,
            region, metric_type, unit, window_start, first_at, minimum, maximum, false AS is_day
        FROM performance_hourly
        WHERE window_start >= first_hour AND window_start < end AND period_seconds < 86400
            AND (window_start, batch) IN hours_published
    )
    WHERE (customer_id, provider, resource_id, metric_name, statistic) IN far
),
parts AS
(
    SELECT
        customer_id, provider, resource_id, instance_uid, metric_name, statistic,
        argMax((spans.resource_name, spans.resource_type, spans.region, spans.metric_type, spans.unit), window_start)
            AS facts,
        max(window_start) AS newest,
        min(spans.first_at) AS first_at,
        groupArrayIf((toUnixTimestamp(window_start), spans.minimum, spans.maximum), is_day) AS days,
        groupArrayIf((toUnixTimestamp(window_start), spans.minimum, spans.maximum), NOT is_day) AS hours
    FROM spans
    GROUP BY customer_id, provider, resource_id, instance_uid, metric_name, statistic
),
-- What tells no id, as what was collected before ids were kept, belongs to the first id of its series.
named AS
(
    SELECT
        * EXCEPT (instance_uid),
        if(empty(parts.instance_uid), argMin(parts.instance_uid, (empty(parts.instance_uid), parts.first_at)) OVER (
            PARTITION BY customer_id, provider, resource_id, metric_name, statistic), parts.instance_uid)
            AS instance_uid
    FROM parts
),
series AS
(
    SELECT
        customer_id, provider, resource_id, instance_uid, metric_name, statistic,
        argMax(named.facts, newest) AS facts,
        groupArrayArray(named.days) AS days,
        arraySort(groupArrayArray(named.hours)) AS hours
    FROM named
    GROUP BY customer_id, provider, resource_id, instance_uid, metric_name, statistic
),
-- Each hour that may be told of, and what it is compared with.
compared AS
(
    SELECT
        customer_id, provider, resource_id, instance_uid, metric_name, statistic, facts, hours,
        one.1 AS hour, one.2 AS minimum, one.3 AS maximum,
        intDiv(hour, 86400) * 86400 AS day,
        arrayFilter(d -> d.1 >= day - 14 * 86400 AND d.1 < day, days) AS days_before,
        arrayConcat(days_before, arrayFilter(h -> h.1 >= day AND h.1 < hour, hours)) AS all_before
    FROM series
    ARRAY JOIN hours AS one
    WHERE hour >= toUnixTimestamp(looked_back) AND length(days_before) >= 3
),
left_hours AS
(
    SELECT
        *,
        greatest(
            arrayReduce('quantileExactInclusive(0.5)', arrayMap(d -> d.3, days_before))
                - arrayReduce('quantileExactInclusive(0.5)', arrayMap(d -> d.2, days_before)),
            0.01 * greatest(abs(lowest), abs(highest))) AS usual
    FROM
    (
        SELECT
            *,
            arrayMin(x -> x.2, all_before) AS lowest,
            arrayMax(x -> x.3, all_before) AS highest,
            greatest(maximum - highest, lowest - minimum) AS beyond
        FROM compared
    )
    WHERE beyond > 0 AND beyond > 0.25 * usual
),
-- The last hour that is told of: one that none within the 24 hours before it was told of.
told AS
(
    SELECT
        customer_id, provider, resource_id, instance_uid, metric_name, statistic,
        any(l.facts) AS facts,
        any(l.hours) AS hours,
        arrayFold((told_at, hour) -> if(hour - told_at >= 86400, hour, told_at),
            arraySort(groupArray(l.hour)), toUInt32(0)) AS told_at,
        arrayFirst(x -> x.1 = told_at, groupArray((l.hour, l.lowest, l.highest, l.usual,
            l.maximum - l.highest = l.beyond, toUInt8(length(l.days_before))))) AS at
    FROM left_hours AS l
    GROUP BY customer_id, provider, resource_id, instance_uid, metric_name, statistic
    HAVING told_at >= toUnixTimestamp(end - INTERVAL 24 HOUR)
)
SELECT
    customer_id,
    provider,
    resource_id,
    instance_uid,
    t.facts.1 AS resource_name,
    t.facts.2 AS resource_type,
    t.facts.3 AS region,
    t.facts.4 AS metric_type,
    metric_name,
    statistic,
    toDateTime(t.told_at, 'UTC') AS since,   -- the hour in which it left what it was
    if(t.at.5, 'above', 'below') AS direction,
    if(t.at.5,
        arrayMax(h -> if(h.1 >= told_at, h.3, -inf), t.hours),
        arrayMin(h -> if(h.1 >= told_at, h.2, inf), t.hours)) AS value,   -- the furthest since then
    t.at.2 AS minimum_before,   -- the lowest value of the 14 days before
    t.at.3 AS maximum_before,   -- the highest value of the 14 days before
    t.at.4 AS usual_range,   -- from the days' usual lowest to their usual highest value
    if(usual_range = 0, NULL, if(t.at.5, value - maximum_before, minimum_before - value) / usual_range)
        AS ranges,   -- how far the value is beyond what was before, in usual ranges
    t.facts.5 AS unit,
    t.at.6 AS days_before   -- how many of the 14 days before have points; at least 3
FROM told AS t
