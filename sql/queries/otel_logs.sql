-- The log records of one customer in [start, end) that tell of calls to a model on a provider, or do not say where.
-- {event_name} is the column of newer exporters, or the attribute.
SELECT
    toUnixTimestamp64Nano(Timestamp) AS Timestamp_nanos,
    TraceId,
    SpanId,
    ServiceName,
    ScopeName,
    {event_name} AS name,
    ResourceAttributes,
    LogAttributes,
    Body,
    length(Body) + arraySum(text -> length(text), mapValues(LogAttributes)) > {longest:UInt64} AS too_large
FROM otel_logs
WHERE ResourceAttributes['customer.id'] = {customer:String}
    AND Timestamp >= fromUnixTimestamp64Micro({start:Int64})
    AND Timestamp < fromUnixTimestamp64Micro({end:Int64})
    AND ResourceAttributes['cloud.provider'] IN ({provider:String}, '')
    AND startsWith(name, 'gen_ai.')
ORDER BY Timestamp
