-- Of each window: how many slices were attempted, the newest published batch of what is collected, how many readers have
-- computed it, and the lowest of their newest batches. Its readers are stale while one is missing or lower.
SELECT
    toUnixTimestamp(window_start) AS window_seconds,
    sum(slices) AS attempted,
    maxIf(newest, NOT is_reader) AS collected,
    countIf(is_reader) AS readers,
    minIf(newest, is_reader) AS computed
FROM
(
    SELECT
        window_start,
        dataset,
        dataset IN {readers:Array(String)} AS is_reader,
        if(is_reader, 0, uniqExact(customer_id, provider)) AS slices,
        maxIf(batch, status IN ('ok', 'partial')) AS newest
    FROM metric_batches
    WHERE window_start >= {first:DateTime('UTC')} AND window_start <= {last:DateTime('UTC')}
        AND (dataset IN {readers:Array(String)} OR dataset IN {collected:Array(String)})
    GROUP BY window_start, dataset
)
GROUP BY window_start
ORDER BY window_start
