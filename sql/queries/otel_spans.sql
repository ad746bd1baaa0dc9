-- The spans of one customer in [start, end) that may be calls to a model on a provider, or do not say where, as the
-- OpenTelemetry Collector's ClickHouse exporter writes them. A span that is too large comes as its id alone.
WITH
    arraySum(text -> length(text), mapValues(SpanAttributes))
        + arraySum(held -> arraySum(text -> length(text), mapValues(held)), Events.Attributes) AS characters,
    characters > {longest:UInt64} AS too_large
SELECT
    toUnixTimestamp64Nano(Timestamp) AS Timestamp_nanos,
    TraceId,
    SpanId,
    ParentSpanId,
    SpanName,
    ServiceName,
    ScopeName,
    StatusCode,
    Duration,
    ResourceAttributes,
    if(too_large, map(), SpanAttributes),
    if(too_large, [], Events.Name),
    if(too_large, [], Events.Attributes),
    too_large
FROM otel_traces
WHERE ResourceAttributes['customer.id'] = {customer:String}
    AND Timestamp >= fromUnixTimestamp64Micro({start:Int64})
    AND Timestamp < fromUnixTimestamp64Micro({end:Int64})
    AND ResourceAttributes['cloud.provider'] IN ({provider:String}, '')
    AND (arrayExists(key -> match(key, '^(gen_ai|llm|openinference|ai|langfuse|mlflow)[.]'), mapKeys(SpanAttributes))
         OR arrayExists(name -> startsWith(name, 'gen_ai.'), Events.Name))
ORDER BY Timestamp
