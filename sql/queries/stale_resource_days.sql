-- The days before that of `window` whose rollup, `dataset`, is older than the inventories that were published of them, or
-- missing. Inventories are of the present, so only the last two days are looked at whole; of the 90 days before, which lack
-- a rollup after an upgrade, the first window.
SELECT toUnixTimestamp(day)
FROM
(
    SELECT toStartOfDay(window_start) AS day, max(published_at) AS published
    FROM metric_batches
    WHERE dataset = 'resource' AND status IN ('ok', 'partial')
        AND window_start < toStartOfDay({window:DateTime('UTC')})
        AND window_start >= toStartOfDay({window:DateTime('UTC')}) - INTERVAL 90 DAY
        AND (window_start >= toStartOfDay({window:DateTime('UTC')}) - INTERVAL 2 DAY
            OR window_start = toStartOfDay(window_start))
    GROUP BY day
) AS inventories
LEFT JOIN
(
    SELECT window_start AS day, max(batch) AS computed
    FROM metric_batches
    WHERE dataset = {dataset:String} AND status = 'ok'
        AND window_start >= toStartOfDay({window:DateTime('UTC')}) - INTERVAL 90 DAY
    GROUP BY day
) AS rollups USING (day)
WHERE computed <= toUnixTimestamp64Nano(toDateTime64(published, 9, 'UTC'))
ORDER BY day
