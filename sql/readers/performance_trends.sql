-- Every series over the 24 hours, 7 days and 30 days that end with the hour `window`, from its rollups alone. The
-- running hour takes part as far as it was collected. A period in which a series has no point has no row.
--
-- coverage: the points there are, of those expected from the series' first point, or from the period's start where it
--   had points before, to the end of the hour's newest published window. A resource that vanished loses coverage.
-- slope_per_day: of the least-squares line through the points.
-- change: against the mean of the equal period before.
-- direction: up or down where the slope is at least three times its standard error (its t-statistic), flat where it is
--   less, which is noise; unknown with fewer than 3 points, or where all have the same time.
--
-- shows: window_start provider resource_type resource_name metric_name statistic days mean p95 unit coverage
--   change_percent direction slope_per_day minimum maximum n region resource_id
-- if empty: no whole hour of the period was rolled up yet
-- covers: 1 hour
-- computed from: performance/hourly performance/daily
-- kept: 7 days
-- key: customer_id provider resource_type resource_id metric_name statistic days
-- types: days UInt8, coverage Float64
-- table: performance_trends 4f032275
WITH
{window:DateTime('UTC')} + INTERVAL 1 HOUR AS end,
(
    SELECT greatest(max(window_start) + INTERVAL 15 MINUTE, {window:DateTime('UTC')})
    FROM metric_batches
    WHERE dataset = 'performance' AND status IN ('ok', 'partial')
        AND window_start >= {window:DateTime('UTC')} AND window_start < end
) AS collected_until,
-- The days that a period begins or ends within are read by the hour.
arrayMap(days -> toStartOfDay(end - toIntervalDay(days)), [0, 1, 2, 7, 14, 30, 60]) AS cut_days,
days_published AS
(
    SELECT window_start, batch
    FROM published_batches
    WHERE dataset = 'performance_daily' AND window_start >= end - INTERVAL 60 DAY AND window_start < end
        AND window_start NOT IN cut_days
),
hours_published AS
(
    SELECT window_start, batch
    FROM published_batches
    WHERE dataset = 'performance_hourly' AND window_start >= end - INTERVAL 60 DAY AND window_start < end
        AND toStartOfDay(window_start) IN cut_days
),
spans AS
(
    SELECT *
    FROM performance_daily
    WHERE window_start >= end - INTERVAL 60 DAY AND window_start < end AND (window_start, batch) IN days_published
    UNION ALL
    SELECT *
    FROM performance_hourly
    WHERE window_start >= end - INTERVAL 60 DAY AND window_start < end AND (window_start, batch) IN hours_published
),
-- The spans of a series are added up first by how long ago they were, so that each is read once, not once for every
-- period. Deviations add up as their own and those of their means from the common one.
ages AS
(
    SELECT
        customer_id, provider, resource_id, metric_name, statistic,
        multiIf(
            window_start >= end - INTERVAL 1 DAY, 1,
            window_start >= end - INTERVAL 2 DAY, 2,
            window_start >= end - INTERVAL 7 DAY, 7,
            window_start >= end - INTERVAL 14 DAY, 14,
            window_start >= end - INTERVAL 30 DAY, 30,
            60) AS age,
        -- Of what says what a series is, only the name can change.
        argMax(spans.resource_name, window_start) AS resource_name,
        any(spans.resource_type) AS resource_type,
        any(spans.region) AS region,
        any(spans.metric_type) AS metric_type,
        any(spans.unit) AS unit,
        argMax(spans.period_seconds, window_start) AS period_seconds,
        min(spans.minimum) AS minimum,
        max(spans.maximum) AS maximum,
        min(spans.first_at) AS first_at,
        sum(spans.n) AS n,
        sum(spans.total) AS total,
        total / n AS mean,
        groupArray(spans.n) AS ns,
        groupArray(spans.mean_time - (end - window_start)) AS times,
        groupArray(spans.total / spans.n) AS means,
        arraySum((weight, t) -> weight * t, ns, times) / n AS mean_time,
        sum(spans.time_squares) + arraySum((weight, t) -> weight * pow(t - mean_time, 2), ns, times) AS time_squares,
        sum(spans.value_squares) + arraySum((weight, m) -> weight * pow(m - mean, 2), ns, means) AS value_squares,
        sum(spans.products)
            + arraySum((weight, t, m) -> weight * (t - mean_time) * (m - mean), ns, times, means) AS products
    FROM spans
    GROUP BY customer_id, provider, resource_id, metric_name, statistic, age
),
-- Each age once for every period that it belongs to, and for every one whose equal period before it belongs to.
parts AS
(
    SELECT
        * EXCEPT (ns, times, means),
        arrayJoin(arrayFilter(d -> age <= 2 * d, [1, 7, 30])) AS days,
        age <= days AS is_own
    FROM ages
),
periods AS
(
    SELECT
        customer_id, provider, resource_id, metric_name, statistic, days,
        argMin(parts.resource_name, age) AS resource_name,
        any(parts.resource_type) AS resource_type,
        any(parts.region) AS region,
        any(parts.metric_type) AS metric_type,
        any(parts.unit) AS unit,
        argMin(parts.period_seconds, age) AS period_seconds,
        minIf(parts.minimum, is_own) AS minimum,
        maxIf(parts.maximum, is_own) AS maximum,
        min(parts.first_at) AS first_at,
        sumIf(parts.n, NOT is_own) AS n_before,
        sumIf(total, NOT is_own) / n_before AS mean_before,
        sumIf(parts.n, is_own) AS n,
        sumIf(total, is_own) / n AS mean,
        groupArrayIf(parts.n, is_own) AS ns,
        groupArrayIf(parts.mean_time, is_own) AS times,
        groupArrayIf(parts.mean, is_own) AS means,
        arraySum((weight, t) -> weight * t, ns, times) / n AS mean_time,
        sumIf(parts.time_squares, is_own)
            + arraySum((weight, t) -> weight * pow(t - mean_time, 2), ns, times) AS time_squares,
        sumIf(parts.value_squares, is_own)
            + arraySum((weight, m) -> weight * pow(m - mean, 2), ns, means) AS value_squares,
        sumIf(parts.products, is_own)
            + arraySum((weight, t, m) -> weight * (t - mean_time) * (m - mean), ns, times, means) AS products
    FROM parts
    GROUP BY customer_id, provider, resource_id, metric_name, statistic, days
    HAVING n > 0
),
-- The values, which are most of the bytes, are read of the last 30 days only, and go straight into the three quantiles:
-- kept by age, they would be copied twice more.
quantiles AS
(
    SELECT
        customer_id, provider, resource_id, metric_name, statistic,
        quantileExactInclusiveArrayIf(0.95)(values, window_start >= end - INTERVAL 1 DAY) AS p95_of_1,
        quantileExactInclusiveArrayIf(0.95)(values, window_start >= end - INTERVAL 7 DAY) AS p95_of_7,
        quantileExactInclusiveArray(0.95)(values) AS p95_of_30
    FROM spans
    WHERE window_start >= end - INTERVAL 30 DAY
    GROUP BY customer_id, provider, resource_id, metric_name, statistic
),
lines AS
(
    SELECT
        *,
        min(periods.first_at) OVER (PARTITION BY customer_id, provider, resource_id, metric_name, statistic)
            AS first_seen,
        (collected_until - greatest(first_seen, end - toIntervalDay(days))) / greatest(1, period_seconds) AS expected,
        if(minimum = maximum, 0, products / time_squares) AS slope,
        sqrt(greatest(0, value_squares - slope * products) / (n - 2) / time_squares) AS slope_error
    FROM periods
    INNER JOIN quantiles USING (customer_id, provider, resource_id, metric_name, statistic)
)
SELECT
    customer_id,
    provider,
    resource_id,
    resource_name,
    resource_type,
    region,
    metric_type,
    metric_name,
    statistic,
    days,
    n,
    least(1, n / greatest(1, ceil(expected))) AS coverage,
    mean,   -- over the points of the period
    minimum,
    maximum,
    multiIf(days = 1, p95_of_1, days = 7, p95_of_7, p95_of_30) AS p95,
    if(time_squares = 0, NULL, slope * 86400) AS slope_per_day,
    if(n_before = 0, NULL, mean - mean_before) AS change,
    if(n_before = 0 OR mean_before = 0, NULL, 100 * (mean - mean_before) / abs(mean_before)) AS change_percent,
    multiIf(
        n < 3 OR time_squares = 0, 'unknown',
        slope = 0 OR abs(slope) < 3 * slope_error, 'flat',
        slope > 0, 'up',
        'down') AS direction,
    unit
FROM lines
