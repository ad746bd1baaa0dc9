-- Of each window: how many slices were attempted, the newest published batch of what is collected and when it was first
-- published (ns), how many readers have computed it, and the lowest of their newest batches. Its readers are stale while
-- one is missing or lower, or began (a batch is the time it began, in ns) before that batch was published.
WITH
batches AS
(
    SELECT
        window_start,
        dataset,
        batch,
        min(published_at) AS first_published,
        countIf(status IN ('ok', 'partial')) AS published,
        groupUniqArray((customer_id, provider)) AS slices
    FROM metric_batches
    WHERE window_start >= {first:DateTime('UTC')} AND window_start <= {last:DateTime('UTC')}
        AND (dataset IN {readers:Array(String)} OR dataset IN {collected:Array(String)})
    GROUP BY window_start, dataset, batch
),
datasets AS
(
    SELECT
        window_start,
        dataset,
        dataset IN {readers:Array(String)} AS is_reader,
        length(arrayDistinct(arrayFlatten(groupArray(slices)))) AS attempted,
        maxIf(batch, published > 0) AS newest,
        maxIf(toUnixTimestamp64Nano(toDateTime64(first_published, 9, 'UTC')), published > 0) AS newest_published
    FROM batches
    GROUP BY window_start, dataset
)
SELECT
    toUnixTimestamp(window_start) AS window_seconds,
    sumIf(attempted, NOT is_reader) AS attempted,
    maxIf(newest, NOT is_reader) AS collected,
    maxIf(newest_published, NOT is_reader) AS collected_at,
    countIf(is_reader AND newest > 0) AS readers,
    minIf(newest, is_reader) AS computed
FROM datasets
GROUP BY window_start
ORDER BY window_start
