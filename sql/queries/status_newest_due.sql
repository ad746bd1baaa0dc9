-- How the newest attempt ended at the newest slice that was due, of some customers between two windows.
SELECT
    dataset,
    customer_id,
    provider,
    argMaxIf(toString(b.status), (window_start, b.status = 'ok', published_at, batch), b.status != 'not_due')
FROM metric_batches AS b
WHERE dataset IN {datasets:Array(String)} AND customer_id IN {customers:Array(String)}
    AND window_start >= {first:DateTime('UTC')} AND window_start <= {last:DateTime('UTC')}
GROUP BY dataset, customer_id, provider
