-- What each service has cost: today so far, yesterday, in the 30 days to yesterday, and in the month to date. Estimates
-- name services as the bill does; where that is not known, by the kind of resource.
--
-- cost_type: of a service that is charged for several, `other`.
--
-- shows: window_start period provider service_name cost_type amount currency billed estimated provisional resources
--   sub_account_id as_of
-- ordered by: period, currency, amount DESC
-- kept: 90 days
-- key: customer_id provider sub_account_id service_name currency cost_type period
-- table: cost_by_service 499a8f66
WITH days AS
(
    SELECT
        customer_id, provider, sub_account_id, currency, service_name, cost_type, charge_day,
        any(c.periods) AS periods,
        sum(c.billed) AS billed,
        sum(c.estimated) AS estimated,
        sum(c.provisional) AS provisional,
        groupUniqArrayIf(c.resource_id, c.resource_id != '') AS named,
        max(c.charge_period_end) AS until
    FROM recent_costs(window = {window:DateTime('UTC')}) AS c
    GROUP BY customer_id, provider, sub_account_id, currency, service_name, cost_type, charge_day
)
SELECT
    customer_id,
    provider,
    sub_account_id,
    currency,
    service_name,
    if(uniqExact(d.cost_type) = 1, any(d.cost_type), 'other') AS cost_type,
    period,
    sum(d.billed) AS billed,
    sum(d.estimated) AS estimated,
    sum(d.billed + d.estimated) AS amount,
    abs(estimated) + abs(billed) AS both,
    if(both = 0, NULL, toFloat64(abs(estimated)) / toFloat64(both)) AS estimated_share,
    sum(d.provisional) AS provisional,
    uniqExactArray(d.named) AS resources,
    max(d.until) AS as_of
FROM days AS d
ARRAY JOIN periods AS period
GROUP BY customer_id, provider, sub_account_id, currency, service_name, period
