-- The windows whose application readers were computed before what they are computed from was published, and when that was
-- (ns). The last window of a day has the figures of the whole day: for it, the newest of all its windows counts.
WITH
batches AS
(
    SELECT window_start, dataset, batch, min(published_at) AS first_published
    FROM metric_batches
    WHERE window_start >= toStartOfDay({first:DateTime('UTC')}) AND window_start <= {last:DateTime('UTC')}
        AND (dataset = 'application' OR dataset IN {readers:Array(String)}) AND status IN ('ok', 'partial')
    GROUP BY window_start, dataset, customer_id, provider, batch
),
datasets AS
(
    SELECT
        window_start,
        dataset,
        max(batch) AS newest,
        max(toUnixTimestamp64Nano(toDateTime64(first_published, 9, 'UTC'))) AS newest_published
    FROM batches
    GROUP BY window_start, dataset
),
states AS
(
    SELECT
        window_start,
        window_start = toStartOfDay(window_start) + INTERVAL 1 DAY - INTERVAL 15 MINUTE AS is_last,
        maxIf(newest_published, dataset = 'application') AS of_window,
        max(of_window) OVER (PARTITION BY toStartOfDay(window_start)) AS of_day,
        if(is_last, of_day, of_window) AS published,
        countIf(dataset != 'application') AS present,
        minIf(newest, dataset != 'application') AS computed
    FROM datasets
    GROUP BY window_start
)
SELECT toUnixTimestamp(window_start), published
FROM states
WHERE window_start >= {first:DateTime('UTC')} AND present > 0 AND computed < published
    AND (is_last OR window_start < {old:DateTime('UTC')})
ORDER BY window_start
