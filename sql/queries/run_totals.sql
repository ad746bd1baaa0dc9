-- By provider and dataset: the rows, customers and windows that are published between two windows, and how many calls
-- some runs made for them and what these cost (USD).
SELECT
    provider,
    dataset,
    sum(published_rows),
    uniqExactIf(customer_id, published),
    uniqExactIf(window_start, published),
    sum(calls),
    sum(usd)
FROM
(
    SELECT
        provider,
        dataset,
        customer_id,
        window_start,
        argMaxIf(rows, batch, status IN ('ok', 'partial')) AS published_rows,
        countIf(status IN ('ok', 'partial')) > 0 AS published,
        sumIf(api_calls, run_id IN {runs:Array(String)}) AS calls,
        sumIf(api_cost_usd, run_id IN {runs:Array(String)}) AS usd
    FROM metric_batches
    WHERE customer_id IN {customers:Array(String)}
        AND window_start >= fromUnixTimestamp({first:UInt32}) AND window_start <= fromUnixTimestamp({last:UInt32})
    GROUP BY provider, dataset, customer_id, window_start
)
GROUP BY provider, dataset
