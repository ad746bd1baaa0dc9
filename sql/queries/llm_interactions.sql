-- The interactions of one customer in [start, end) that ran on a provider, or do not say where. The texts of a row that
-- is too large stay where they are.
WITH length(prompt) + length(response) + length(context) + length(reference) > {longest:UInt64} AS too_large
SELECT
    toUnixTimestamp64Micro(timestamp),
    interaction_id,
    application_id,
    application_name,
    model_name,
    provider,
    if(too_large, '', prompt),
    if(too_large, '', response),
    if(too_large, '', context),
    if(too_large, '', reference),
    prompt_tokens,
    response_tokens,
    too_large
FROM llm_interactions
WHERE customer_id = {customer:String}
    AND timestamp >= fromUnixTimestamp64Micro({start:Int64})
    AND timestamp < fromUnixTimestamp64Micro({end:Int64})
    AND provider IN ({provider:String}, '')
