-- How each dataset of a provider stands: how many of some customers had an attempt between two windows, the newest window
-- that is published, and the customers that are not as they should be: whose newest slice that was due is not whole, or
-- whose newest attempt is older than `late`. One row of a dataset, however many customers are well.
SELECT
    dataset,
    provider,
    count() AS customers,
    toUnixTimestamp(max(published)) AS newest,
    groupArrayIf((customer_id, status, toUnixTimestamp(tried)),
        status IN ('partial', 'failed', 'budget') OR tried < {late:DateTime('UTC')}) AS others
FROM
(
    SELECT
        dataset,
        provider,
        customer_id,
        max(window_start) AS tried,
        maxIf(window_start, b.status IN ('ok', 'partial')) AS published,
        argMaxIf(toString(b.status), (window_start, b.status = 'ok', published_at, batch), b.status != 'not_due') AS status
    FROM metric_batches AS b
    WHERE dataset IN {datasets:Array(String)} AND customer_id IN {customers:Array(String)}
        AND window_start >= {first:DateTime('UTC')} AND window_start <= {last:DateTime('UTC')}
    GROUP BY dataset, provider, customer_id
)
GROUP BY dataset, provider
ORDER BY dataset, provider
