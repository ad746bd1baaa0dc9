-- What is known of a customer's metrics now: how many resources have each metric in each state, and why. Most first.
SELECT
    provider,
    resource_type,
    metric_name,
    toString(state) AS state,
    uniqExact(resource_id) AS resources,
    any(c.reason) AS reason,
    min(c.since) AS since
FROM coverage_current AS c
WHERE customer_id = {customer:String}
GROUP BY provider, resource_type, metric_name, state
ORDER BY resources DESC, provider, resource_type, metric_name, state
