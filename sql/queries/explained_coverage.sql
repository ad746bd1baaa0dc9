-- What was not collected of a customer's metrics in a stretch of time, and why: by provider, metric, state and reason how
-- many resources, and from when until when; `lasts` where it goes on. Of one resource, metric or type where one is named.
SELECT
    provider,
    metric_name,
    toString(c.state) AS said,
    c.reason AS why,
    uniqExact(c.resource_id) AS resources,
    min(c.resource_id) AS one_of_them,
    toUnixTimestamp(min(c.since)) AS first,
    countIf(isNull(c.until)) > 0 AS lasts,
    toUnixTimestamp(max(ifNull(c.until, c.since))) AS last
FROM (SELECT * FROM coverage FINAL) AS c
WHERE customer_id = {customer:String} AND (empty({provider:String}) OR provider = {provider:String})
    AND (empty({resource:String}) OR c.resource_id = {resource:String})
    AND (empty({metric:String}) OR metric_name = {metric:String})
    AND (empty({type:String}) OR c.resource_type = {type:String})
    AND c.state != 'collected' AND c.since < fromUnixTimestamp({end:UInt32})
    AND (isNull(c.until) OR c.until > fromUnixTimestamp({begin:UInt32}))
GROUP BY provider, metric_name, said, why
ORDER BY resources DESC, provider, metric_name, said, why
