-- How many interactions of one customer in [start, end) ran on a provider or do not say where, and how many ran
-- elsewhere.
SELECT countIf(provider IN ({provider:String}, '')), countIf(provider NOT IN ({provider:String}, ''))
FROM llm_interactions
WHERE customer_id = {customer:String}
    AND timestamp >= fromUnixTimestamp64Micro({start:Int64})
    AND timestamp < fromUnixTimestamp64Micro({end:Int64})
