-- The attempts at slices since a moment, by provider, dataset and outcome, and by customer where that is asked for: how
-- many, the rows that they gave, and how many calls they made and what these cost (USD). By the time of the attempt, not
-- its window. Only months that something was written to since are opened, so that history costs nothing; the hour is for
-- clocks that differ.
SELECT
    provider,
    dataset,
    if({by_customer:Bool}, customer_id, '') AS customer,
    toString(status) AS outcome,
    count(),
    sumIf(rows, status IN ('ok', 'partial')),
    sum(api_calls),
    sum(api_cost_usd)
FROM metric_batches
WHERE dataset IN {datasets:Array(String)} AND published_at >= fromUnixTimestamp({begin:UInt32})
    AND _partition_id IN
    (
        SELECT partition_id
        FROM system.parts
        WHERE database = currentDatabase() AND table = 'metric_batches' AND active
            AND modification_time >= fromUnixTimestamp({begin:UInt32}) - INTERVAL 1 HOUR
    )
GROUP BY provider, dataset, customer, outcome
