-- A day of every series in one row, from its hourly rollups. `window` is the day.
--
-- shows: window_start provider resource_type resource_name metric_name statistic n expected total minimum maximum unit
--   region resource_id
-- covers: 1 day
-- computed from: performance/hourly
-- kept: 90 days
-- key: customer_id provider resource_type resource_id metric_name statistic
-- table: performance_daily
WITH
hours AS
(
    SELECT *, total / n AS mean, mean_time + (window_start - {window:DateTime('UTC')}) AS time
    FROM performance_hourly
    WHERE window_start >= {window:DateTime('UTC')} AND window_start < {window:DateTime('UTC')} + INTERVAL 1 DAY
        AND (window_start, batch) IN
            (SELECT window_start, batch FROM published_batches WHERE dataset = 'performance_hourly')
),
-- Each hour's own deviations, and those of its means from the day's.
days AS
(
    SELECT
        customer_id, provider, resource_id, metric_name, statistic,
        sum(n) AS day_n, sum(total) / day_n AS day_mean, sum(n * time) / day_n AS day_time
    FROM hours
    GROUP BY customer_id, provider, resource_id, metric_name, statistic
)
SELECT
    customer_id,
    provider,
    resource_id,
    argMax(hours.resource_name, window_start) AS resource_name,
    argMax(hours.resource_type, window_start) AS resource_type,
    argMax(hours.region, window_start) AS region,
    argMax(hours.metric_type, window_start) AS metric_type,
    metric_name,
    statistic,
    argMax(hours.unit, window_start) AS unit,
    argMax(hours.period_seconds, window_start) AS period_seconds,
    any(day_n) AS n,
    greatest(1, intDiv(86400, greatest(1, period_seconds))) AS expected,
    sum(hours.total) AS total,
    min(hours.minimum) AS minimum,
    max(hours.maximum) AS maximum,
    min(hours.first_at) AS first_at,
    any(day_time) AS mean_time,
    sum(hours.time_squares + hours.n * pow(time - day_time, 2)) AS time_squares,
    sum(hours.value_squares + hours.n * pow(mean - day_mean, 2)) AS value_squares,
    sum(hours.products + hours.n * (time - day_time) * (mean - day_mean)) AS products,
    arraySort(groupArrayArray(hours.values)) AS values
FROM hours
INNER JOIN days USING (customer_id, provider, resource_id, metric_name, statistic)
GROUP BY customer_id, provider, resource_id, metric_name, statistic
