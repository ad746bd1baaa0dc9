-- Every series over the 24 hours, 7 days and 30 days that end with the hour `window`, from its rollups alone. The
-- running hour takes part as far as it was collected. A period in which a series has no point has no row.
--
-- coverage: the points there are, of those expected from the series' first point, or from the period's start where it
--   had points before, to the end of the hour's newest published window. A resource that vanished loses coverage.
-- slope_per_day: of the least-squares line through the points.
-- change: against the mean of the equal period before.
-- direction: up or down where the slope is at least three times its standard error (its t-statistic), flat where it is
--   less, which is noise; unknown with fewer than 3 points, or where all have the same time.
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
-- The values, which are most of the bytes, are read of the last 30 days only.
spans AS
(
    SELECT * EXCEPT (values), values
    FROM performance_daily
    WHERE window_start >= end - INTERVAL 30 DAY AND window_start < end AND (window_start, batch) IN days_published
    UNION ALL
    SELECT * EXCEPT (values), [] AS values
    FROM performance_daily
    WHERE window_start >= end - INTERVAL 60 DAY AND window_start < end - INTERVAL 30 DAY
        AND (window_start, batch) IN days_published
    UNION ALL
    SELECT * EXCEPT (values), values
    FROM performance_hourly
    WHERE window_start >= end - INTERVAL 60 DAY AND window_start < end AND (window_start, batch) IN hours_published
),
-- Each span once for every period that it belongs to, and for every one whose equal period before it belongs to.
parts AS
(
    SELECT
        *,
        mean_time - (end - window_start) AS time,
        arrayJoin(arrayFilter(d -> window_start >= end - toIntervalDay(2 * d), [1, 7, 30])) AS days,
        window_start >= end - toIntervalDay(days) AS is_own
    FROM spans
),
periods AS
(
    SELECT
        customer_id, provider, resource_id, metric_name, statistic, days,
        -- Of what says what a series is, only the name can change.
        argMax(parts.resource_name, window_start) AS resource_name,
        any(parts.resource_type) AS resource_type,
        any(parts.region) AS region,
        any(parts.metric_type) AS metric_type,
        any(parts.unit) AS unit,
        argMax(parts.period_seconds, window_start) AS period_seconds,
        sumIf(parts.n, is_own) AS n,
        sumIf(total, is_own) / n AS mean,
        minIf(parts.minimum, is_own) AS minimum,
        maxIf(parts.maximum, is_own) AS maximum,
        quantileExactInclusiveArrayIf(0.95)(values, is_own) AS p95,
        min(parts.first_at) AS first_at,
        sumIf(parts.n, NOT is_own) AS n_before,
        sumIf(total, NOT is_own) / n_before AS mean_before,
        -- The deviations within each span, and those of the spans' means from the period's.
        sumIf(parts.n * time, is_own) / n AS mean_time,
        groupArrayIf(parts.n, is_own) AS ns,
        groupArrayIf(time, is_own) AS times,
        groupArrayIf(total / parts.n, is_own) AS means,
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
    mean,
    minimum,
    maximum,
    p95,
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
