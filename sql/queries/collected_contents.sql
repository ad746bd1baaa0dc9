-- The digest of the records that each published slice of a customer's applications on a provider was made of.
SELECT toUnixTimestamp(window_start), JSONExtractString(details, 'content') AS content
FROM application_metrics_current
WHERE customer_id = {customer:String} AND provider = {provider:String}
    AND window_start >= fromUnixTimestamp({first:UInt32}) AND window_start <= fromUnixTimestamp({last:UInt32})
    AND metric_type = 'source' AND content != ''
