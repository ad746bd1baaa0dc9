-- The feedback of one customer in [start, end) on interactions of a provider, or that does not say of which.
SELECT
    toUnixTimestamp64Micro(timestamp),
    interaction_id,
    trace_id,
    application_id,
    provider,
    name,
    value,
    scale,
    leftUTF8(given_by, 500),
    leftUTF8(comment, 2000),
    false AS too_large
FROM llm_feedback
WHERE customer_id = {customer:String}
    AND timestamp >= fromUnixTimestamp64Micro({start:Int64})
    AND timestamp < fromUnixTimestamp64Micro({end:Int64})
    AND provider IN ({provider:String}, '')
ORDER BY timestamp
