-- How many slices of a reader, `length` seconds long, are missing of those times of which a customer's family was published on a
-- provider; the first and the last of them.
SELECT count(), toUnixTimestamp(min(w)), toUnixTimestamp(max(w))
FROM
(
    SELECT DISTINCT toDateTime(intDiv(toUnixTimestamp(window_start), {length:UInt32}) * {length:UInt32}, 'UTC') AS w
    FROM metric_batches
    WHERE dataset = {family:String} AND customer_id = {customer:String} AND provider = {provider:String}
        AND status IN ('ok', 'partial') AND published_at <= {known_at:DateTime64(3, 'UTC')}
        AND window_start >= fromUnixTimestamp({first:UInt32}) AND window_start <= fromUnixTimestamp({last:UInt32})
)
WHERE w NOT IN
(
    SELECT window_start
    FROM metric_batches
    WHERE dataset = {dataset:String} AND customer_id = '' AND status IN ('ok', 'partial')
        AND published_at <= {known_at:DateTime64(3, 'UTC')}
        AND window_start >= fromUnixTimestamp({first:UInt32}) AND window_start <= fromUnixTimestamp({last:UInt32})
)
