-- How many spans of one customer in [start, end) may be calls to a model on a provider or do not say where, and how many
-- ran elsewhere.
SELECT
    countIf(ResourceAttributes['cloud.provider'] IN ({provider:String}, '')),
    countIf(ResourceAttributes['cloud.provider'] NOT IN ({provider:String}, ''))
FROM otel_traces
WHERE ResourceAttributes['customer.id'] = {customer:String}
    AND Timestamp >= fromUnixTimestamp64Micro({start:Int64})
    AND Timestamp < fromUnixTimestamp64Micro({end:Int64})
    AND (arrayExists(key -> match(key, '^(gen_ai|llm|openinference|ai|langfuse|mlflow)[.]'), mapKeys(SpanAttributes))
         OR arrayExists(name -> startsWith(name, 'gen_ai.'), Events.Name))
