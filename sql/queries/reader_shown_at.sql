-- Up to which window (s) the other tables of a reader and the one that is shown had come at a time, and when (ms) the one
-- that is shown came as far as the others ever did; 0 where it has not.
WITH
(
    SELECT max(window_start) FROM metric_batches
    WHERE (dataset = {file:String} OR startsWith(dataset, concat({file:String}, '_v'))) AND customer_id = ''
        AND match(dataset, concat('^', {file:String}, '(_v[0-9a-f]{8})?$')) AND dataset != {shown:String}
        AND status IN ('ok', 'partial')
) AS last_of_others
SELECT
    toUnixTimestamp(maxIf(window_start, dataset != {shown:String} AND known)),
    toUnixTimestamp(maxIf(window_start, dataset = {shown:String} AND known)),
    toUnixTimestamp64Milli(minIf(published_at, dataset = {shown:String} AND window_start >= last_of_others))
FROM
(
    SELECT dataset, window_start, published_at, published_at <= fromUnixTimestamp64Milli({as_of:Int64}, 'UTC') AS known
    FROM metric_batches
    WHERE (dataset = {file:String} OR startsWith(dataset, concat({file:String}, '_v'))) AND customer_id = ''
        AND match(dataset, concat('^', {file:String}, '(_v[0-9a-f]{8})?$')) AND status IN ('ok', 'partial')
)
