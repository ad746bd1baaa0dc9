-- How each dataset of a provider stands: how many of some customers had an attempt between two windows, the newest window
-- that is published, and the customers that may not be as they should: who lack something since their newest whole slice,
-- or whose newest attempt is older than `late`. One row of a dataset, however many customers are well. Every granule of
-- the month has rows of the span, so what other columns would tell is asked of the few by `status_newest_due`.
SELECT
    dataset,
    provider,
    count() AS customers,
    toUnixTimestamp(max(published)) AS newest,
    groupArrayIf((customer_id, lacking > whole, toUnixTimestamp(tried)), lacking > whole OR tried < {late:DateTime('UTC')})
        AS others
FROM
(
    SELECT
        dataset,
        provider,
        customer_id,
        max(window_start) AS tried,
        maxIf(window_start, status IN ('ok', 'partial')) AS published,
        maxIf(window_start, status = 'ok') AS whole,
        maxIf(window_start, status IN ('partial', 'failed', 'budget')) AS lacking
    FROM metric_batches
    WHERE dataset IN {datasets:Array(String)} AND customer_id IN {customers:Array(String)}
        AND window_start >= {first:DateTime('UTC')} AND window_start <= {last:DateTime('UTC')}
    GROUP BY dataset, provider, customer_id
)
GROUP BY dataset, provider
ORDER BY dataset, provider
