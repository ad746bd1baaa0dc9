-- The customers with a slice between two windows that its newest attempt left out for the budget, and what it said.
SELECT customer_id, error
FROM newest_attempts
WHERE provider = {provider:String} AND status = 'budget'
    AND window_start >= fromUnixTimestamp({first:UInt32}) AND window_start <= fromUnixTimestamp({last:UInt32})
ORDER BY customer_id, window_start, dataset
