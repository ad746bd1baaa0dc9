-- By provider: the rows, customers and days of bills that some runs published. Bills reach back months, so the ledger is
-- searched by when the runs were: within two days.
SELECT provider, sum(rows), uniqExact(customer_id), uniqExact(window_start)
FROM metric_batches
WHERE dataset = 'cost_billed' AND run_id IN {runs:Array(String)} AND status IN ('ok', 'partial')
    AND published_at >= now() - INTERVAL 2 DAY
GROUP BY provider
