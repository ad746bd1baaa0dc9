-- The 14 days before that of `window` whose verdicts, `dataset`, are older than a rollup that they are computed from, or
-- than the first attempt at a window after the day: only then is it over.
WITH
toStartOfDay({window:DateTime('UTC')}) AS today,
(
    SELECT groupArray((start, newest))
    FROM
    (
        SELECT window_start AS start, max(batch) AS newest
        FROM metric_batches
        WHERE startsWith(dataset, 'application_days') AND status = 'ok' AND rows > 0
            AND window_start < today AND window_start >= today - INTERVAL 101 DAY
        GROUP BY window_start
    ) AS computed
) AS rollups,
(
    SELECT groupArray((start, at))
    FROM
    (
        SELECT
            toStartOfDay(window_start + INTERVAL 15 MINUTE) - INTERVAL 1 DAY AS start,
            toUInt64(toUnixTimestamp64Nano(toDateTime64(min(published_at), 9, 'UTC'))) AS at
        FROM metric_batches
        WHERE dataset = 'application' AND window_start >= today - INTERVAL 15 DAY
        GROUP BY start
    ) AS attempted
) AS ends
SELECT toUnixTimestamp(days.day)
FROM (SELECT today - toIntervalDay(arrayJoin(range(1, 15))) AS day) AS days
LEFT JOIN
(
    SELECT window_start AS day, max(batch) AS computed
    FROM metric_batches
    WHERE dataset = {dataset:String} AND status = 'ok' AND window_start >= today - INTERVAL 14 DAY
    GROUP BY day
) AS verdicts USING (day)
WHERE arrayExists(one -> one.1 = day, rollups)
    AND (arrayExists(one -> one.1 <= day AND one.1 >= day - INTERVAL 86 DAY AND one.2 >= computed, rollups)
        OR arrayExists(one -> one.1 = day AND one.2 >= computed, ends))
ORDER BY day
