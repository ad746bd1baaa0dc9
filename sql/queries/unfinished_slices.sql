-- Of each customer, provider and dataset: how many slices between two windows lack something by their newest attempt,
-- by the status of it, and the error of the newest such window.
SELECT customer_id, provider, dataset, toString(status) AS newest_status, count() AS slices, argMax(error, window_start)
FROM newest_attempts
WHERE customer_id IN {customers:Array(String)}
    AND window_start >= fromUnixTimestamp({first:UInt32}) AND window_start <= fromUnixTimestamp({last:UInt32})
    AND status IN ('failed', 'partial', 'budget')
GROUP BY customer_id, provider, dataset, newest_status
ORDER BY customer_id, provider, dataset, newest_status
