-- How many log records of one customer in [start, end) tell of calls to a model on a provider or do not say where, and how
-- many ran elsewhere. {event_name} is the column of newer exporters, or the attribute.
SELECT
    countIf(ResourceAttributes['cloud.provider'] IN ({provider:String}, '')),
    countIf(ResourceAttributes['cloud.provider'] NOT IN ({provider:String}, ''))
FROM otel_logs
WHERE ResourceAttributes['customer.id'] = {customer:String}
    AND Timestamp >= fromUnixTimestamp64Micro({start:Int64})
    AND Timestamp < fromUnixTimestamp64Micro({end:Int64})
    AND startsWith({event_name}, 'gen_ai.')
