-- Every series over the 24 hours, 7 days and 30 days that end with the hour `window`, from its rollups alone. The
-- running hour takes part as far as it was collected. A period in which a series has no point has no row.
--
-- coverage: the time that the points cover, of that from the series' first point, or from the period's start where it
--   had points before, to the end of the newest window that was tried for the customer and provider. A resource that
--   vanished loses coverage; a customer that is polled once an hour has none to lose until the poll is over.
-- change: against the mean of the equal period before, where points cover 90 % of that.
-- direction: of 30 days, by the means of the 28 whole days before today: up or down where a line through them rises or
--   falls by more than chance would have it in 1 of 100; the means of weekdays are taken out where they differ, and the
--   error is widened by how much a day resembles the one before. Of 7 days, by the difference of each whole day from
--   the same weekday before. flat: such a slope would have been seen, and there is none. unknown: of 24 hours, of fewer
--   than 21 days, or 5 of 7 and their weekdays before. A day counts where points cover 90 % of it.
-- slope_per_day: of that line, or a seventh of that difference.
-- A total of a whole day counts on its day, and is expected a day after it.
--
-- shows: window_start provider resource_type resource_name metric_name statistic days mean unit p95 coverage
--   change_percent direction slope_per_day minimum maximum n n_before region resource_id instance_uid
-- if empty: no whole hour of the period was rolled up yet
-- covers: 1 hour
-- computed from: performance/hourly performance/daily
-- reads: performance/hourly last 60 days, performance/daily last 61 days
-- kept: 7 days
-- key: customer_id provider resource_type resource_id instance_uid metric_name statistic days
-- types: days UInt8, coverage Float64
WITH
{window:DateTime('UTC')} + INTERVAL 1 HOUR AS end,
toStartOfDay(end) AS today,
today - INTERVAL 28 DAY AS first_day,
[1, 7, 30] AS periods,
0.9 AS known_enough,
21 AS days_enough,
5 AS pairs_enough,
-- What a mean changes by less than this, of the greatest, is rounding.
1e-9 AS rounding,
-- The days that a period begins or ends within are read by the hour.
arrayMap(days -> toStartOfDay(end - toIntervalDay(days)), [0, 1, 2, 7, 14, 30, 60]) AS cut_days,
-- Windows that were tried in the last two days: a poll is a day long at most. Of who was not tried at all in them, all
-- time is expected.
tried AS
(
    SELECT customer_id, provider, max(window_start) + INTERVAL 15 MINUTE AS until
    FROM metric_batches
    WHERE dataset = 'performance' AND status NOT IN ('not_due', 'not_configured')
        AND window_start >= end - INTERVAL 2 DAY AND window_start < end
    GROUP BY customer_id, provider
),
days_published AS
(
    SELECT window_start, batch
    FROM published_batches
    WHERE dataset = 'performance_daily' AND window_start >= end - INTERVAL 60 DAY AND window_start < end
),
hours_published AS
(
    SELECT window_start, batch
    FROM published_batches
    WHERE dataset = 'performance_hourly' AND window_start >= end - INTERVAL 60 DAY AND window_start < end
        AND toStartOfDay(window_start) IN cut_days
),
-- Days and hours, with the values, which are most of the bytes, of the last 30 days only. Days that are read by the hour
-- count for nothing but their own mean.
spans AS
(
    SELECT * EXCEPT (batch, expected), true AS is_day, true AS counts
    FROM performance_daily
    WHERE window_start >= end - INTERVAL 30 DAY AND window_start < end AND window_start NOT IN cut_days
        AND (window_start, batch) IN days_published
    UNION ALL
    SELECT
        * EXCEPT (batch, expected) REPLACE ([]::Array(Float32) AS values),
        true AS is_day,
        NOT has(cut_days, window_start) AS counts
    FROM performance_daily
    WHERE window_start >= end - INTERVAL 60 DAY AND window_start < end
        AND (window_start < end - INTERVAL 30 DAY OR window_start IN cut_days)
        AND (window_start, batch) IN days_published
    UNION ALL
    SELECT * EXCEPT (batch, expected), false AS is_day, true AS counts
    FROM performance_hourly
    WHERE window_start >= end - INTERVAL 60 DAY AND window_start < end AND (window_start, batch) IN hours_published
),
timed AS
(
    SELECT
        *,
        if(spans.period_seconds >= 86400, toStartOfDay(spans.first_at), window_start) AS of,
        arrayMap(days -> counts AND of >= end - toIntervalDay(days), periods) AS is_own,
        arrayMap(days -> counts AND of < end - toIntervalDay(days) AND of >= end - toIntervalDay(2 * days), periods)
            AS is_before,
        is_day AND of >= first_day AND of < today AS is_whole_day,
        toUInt64(spans.n) * spans.period_seconds AS seconds
    FROM spans
),
-- Each span is read once, not once for every period: arrays are by the three periods, those called `day` by whole day.
series AS
(
    SELECT
        customer_id, provider, resource_id, instance_uid, metric_name, statistic,
        argMax(timed.resource_name, window_start) AS resource_name,
        argMax(timed.resource_type, window_start) AS resource_type,
        argMax(timed.region, window_start) AS region,
        argMax(timed.metric_type, window_start) AS metric_type,
        argMax(timed.unit, window_start) AS unit,
        argMax(timed.period_seconds, window_start) AS period_seconds,
        max(window_start) AS last_span,
        min(timed.first_at) AS first_at,
        sumForEach(arrayMap(is -> is * timed.n, is_own)) AS n,
        sumForEach(arrayMap(is -> if(is, timed.total, 0), is_own)) AS total,
        sumForEach(arrayMap(is -> is * timed.seconds, is_own)) AS seconds,
        minForEach(arrayMap(is -> if(is, timed.minimum, inf), is_own)) AS minimum,
        maxForEach(arrayMap(is -> if(is, timed.maximum, -inf), is_own)) AS maximum,
        sumForEach(arrayMap(is -> is * timed.n, is_before)) AS n_before,
        sumForEach(arrayMap(is -> if(is, timed.total, 0), is_before)) AS total_before,
        sumForEach(arrayMap(is -> is * timed.seconds, is_before)) AS seconds_before,
        quantileExactInclusiveArrayIfState(0.95)(timed.values, is_own[1]) AS p95_of_1,
        quantileExactInclusiveArrayIfState(0.95)(timed.values, is_own[2]) AS p95_of_7,
        quantileExactInclusiveArrayIfState(0.95)(timed.values, is_own[3]) AS p95_of_30,
        groupArrayIf(dateDiff('day', first_day, of), is_whole_day) AS day,
        groupArrayIf(timed.n, is_whole_day) AS day_n,
        groupArrayIf(timed.total, is_whole_day) AS day_total,
        groupArrayIf(timed.seconds, is_whole_day) AS day_seconds
    FROM timed
    GROUP BY customer_id, provider, resource_id, instance_uid, metric_name, statistic
),
-- Spans that tell no id, as those of before ids were kept, belong to the first id of their series.
named AS
(
    SELECT
        * EXCEPT (instance_uid),
        if(empty(series.instance_uid), argMin(series.instance_uid, (empty(series.instance_uid), first_at)) OVER (
            PARTITION BY customer_id, provider, resource_id, metric_name, statistic), series.instance_uid)
            AS instance_uid
    FROM series
),
lines AS
(
    SELECT
        customer_id, provider, resource_id, instance_uid, metric_name, statistic,
        argMax(named.resource_name, last_span) AS resource_name,
        argMax(named.resource_type, last_span) AS resource_type,
        argMax(named.region, last_span) AS region,
        argMax(named.metric_type, last_span) AS metric_type,
        argMax(named.unit, last_span) AS unit,
        argMax(named.period_seconds, last_span) AS period_seconds,
        min(named.first_at) AS first_at,
        sumForEach(named.n) AS n,
        sumForEach(named.total) AS total,
        sumForEach(named.seconds) AS seconds,
        minForEach(named.minimum) AS minimum,
        maxForEach(named.maximum) AS maximum,
        sumForEach(named.n_before) AS n_before,
        sumForEach(named.total_before) AS total_before,
        sumForEach(named.seconds_before) AS seconds_before,
        [quantileExactInclusiveArrayIfMerge(0.95)(p95_of_1), quantileExactInclusiveArrayIfMerge(0.95)(p95_of_7),
            quantileExactInclusiveArrayIfMerge(0.95)(p95_of_30)] AS p95,
        sumMap(named.day, named.day_n, named.day_total, named.day_seconds) AS by_day,
        -- The days that are known: (number, mean).
        arrayFilter(
            one -> one.3 >= known_enough * 86400,
            arrayMap((day, n, total, seconds) -> (toFloat64(day), total / n, seconds),
                by_day.1, by_day.2, by_day.3, by_day.4)) AS days_known,
        arrayMap(one -> one.1, days_known) AS x,
        arrayMap(one -> one.2, days_known) AS y,
        length(x) AS days_n,
        arrayMap(day -> toUInt8(day) % 7, x) AS weekday
    FROM named
    GROUP BY customer_id, provider, resource_id, instance_uid, metric_name, statistic
),
-- The line through the days twice, as deviations from the mean, and from the means of their weekdays (`_w`): what is
-- left beside it, and how many days may differ freely.
deviations AS
(
    SELECT
        *,
        arrayMap(one -> one - arrayAvg(x), x) AS dx,
        arrayMap(one -> one - arrayAvg(y), y) AS dy,
        arrayMap(w -> arrayAvg(arrayFilter((one, its) -> its = w, x, weekday)), range(7)) AS x_of_weekday,
        arrayMap(w -> arrayAvg(arrayFilter((one, its) -> its = w, y, weekday)), range(7)) AS y_of_weekday,
        arrayMap((one, its) -> one - x_of_weekday[its + 1], x, weekday) AS dx_w,
        arrayMap((one, its) -> one - y_of_weekday[its + 1], y, weekday) AS dy_w,
        arraySum(one -> one * one, dx) AS xx,
        arraySum(one -> one * one, dx_w) AS xx_w,
        arraySum((one, other) -> one * other, dx, dy) / xx AS rise,
        arraySum((one, other) -> one * other, dx_w, dy_w) / xx_w AS rise_w,
        arrayMap((one, other) -> other - rise * one, dx, dy) AS rest,
        arrayMap((one, other) -> other - rise_w * one, dx_w, dy_w) AS rest_w,
        arraySum(one -> one * one, rest) AS squares,
        arraySum(one -> one * one, rest_w) AS squares_w,
        length(arrayDistinct(weekday)) - 1 AS more,
        days_n - 2 AS free,
        days_n - 2 - more AS free_w,
        -- An F-test at 5 %, of 6 and 20 degrees of freedom.
        (squares - squares_w) / more > 2.6 * squares_w / free_w AS weekdays_differ
    FROM lines
),
fits AS
(
    SELECT
        * EXCEPT (dx, dy, dx_w, dy_w, x_of_weekday, y_of_weekday, rest, rest_w),
        days_n >= days_enough AS is_month_known,
        if(weekdays_differ, rise_w, rise) AS month_rise,
        if(weekdays_differ, rest_w, rest) AS month_rest,
        if(weekdays_differ, squares_w, squares) AS month_squares,
        if(weekdays_differ, free_w, free) AS month_free,
        if(weekdays_differ, xx_w, xx) AS month_xx,
        -- Each of the last seven whole days beside the same weekday before.
        arrayMap(day -> y[indexOf(x, day)] - y[indexOf(x, day - 7)],
            arrayFilter(day -> day >= 21 AND has(x, day - 7), x)) AS differences,
        length(differences) AS pairs
    FROM deviations
),
errors AS
(
    SELECT
        *,
        -- How much a day is like the one before. Of so few days it comes out low (Kendall 1954); where they are too few to
        -- tell, it is that of a strongly correlated series.
        arraySum((one, other) -> one * other, arrayPopFront(month_rest), arrayPopBack(month_rest)) / month_squares AS lag,
        if(is_month_known, least(0.9, greatest(0, ifNotFinite(lag, 0) * (1 + 4 / days_n) + 1 / days_n)), 0.4)
            AS likeness,
        sqrt(2 / (1 - likeness) - 1) AS wider,
        -- Student's t, two-sided 1 %: within 0.3 % of the tables from 12 degrees of freedom on.
        (2.5758 + 4.916 / month_free + 8.83 / pow(month_free, 2)) * sqrt(month_squares / month_free / month_xx) * wider
            AS month_chance,
        arrayAvg(differences) / 7 AS week_rise,
        [4.604, 4.032, 3.707][pairs - 4] * sqrt(arrayReduce('varSamp', differences) / pairs) / 7 * wider AS week_chance,
        arrayMax(arrayMap(one -> abs(one), y)) AS largest
    FROM fits
),
slopes AS
(
    SELECT
        *,
        arrayJoin(arrayFilter(nth -> n[nth] > 0, [1, 2, 3])) AS i,
        periods[i] AS days,
        [false, pairs >= pairs_enough, is_month_known][i] AS is_told,
        [0, week_rise, month_rise][i] AS slope,
        [0, week_chance, month_chance][i] AS chance,
        abs(slope) * least(28, days) > rounding * largest AS is_change,
        total[i] / n[i] AS mean,
        total_before[i] / n_before[i] AS mean_before,
        seconds_before[i] >= known_enough * days * 86400 AS is_before_known,
        toFloat64(greatest(1, period_seconds)) AS period,
        -- Whole periods only; a day's total comes in the day after it.
        ceil(toUnixTimestamp(greatest(first_at, end - toIntervalDay(days))) / period) * period AS expected_from,
        floor((toUnixTimestamp(if(tried.until > first_day, tried.until, end)) - if(period >= 86400, 86400, 0)) / period)
            * period AS expected_until
    FROM errors
    LEFT JOIN tried USING (customer_id, provider)
)
SELECT
    customer_id,
    provider,
    resource_id,
    instance_uid,
    resource_name,
    resource_type,
    region,
    metric_type,
    metric_name,
    statistic,
    days,   -- 1, 7 or 30
    s.n[i] AS n,
    s.n_before[i] AS n_before,   -- points of the equal period before
    least(1, s.seconds[i] / greatest(period, expected_until - expected_from)) AS coverage,   -- 0 to 1
    s.mean AS mean,   -- over the points of the period
    s.minimum[i] AS minimum,
    s.maximum[i] AS maximum,
    toFloat64(s.p95[i]) AS p95,   -- interpolated between values that are at most 0.4 % off
    if(is_told, slope, NULL) AS slope_per_day,   -- units a day; null where the direction is unknown
    if(is_before_known, s.mean - mean_before, NULL) AS change,   -- null: too little is known of the period before
    if(is_before_known AND mean_before != 0, 100 * (s.mean - mean_before) / abs(mean_before), NULL)
        AS change_percent,   -- of the mean before; null where that is 0
    multiIf(
        NOT is_told, 'unknown',
        NOT is_change OR abs(slope) < chance, 'flat',
        slope > 0, 'up',
        'down') AS direction,   -- up, down, flat or unknown
    unit
FROM slopes AS s
