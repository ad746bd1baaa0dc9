-- The customers of a dataset and provider that had an attempt between two windows.
SELECT DISTINCT customer_id
FROM metric_batches
WHERE dataset = {dataset:String} AND provider = {provider:String}
    AND window_start >= {first:DateTime('UTC')} AND window_start <= {last:DateTime('UTC')}
