-- What each service has cost: today so far, yesterday, in the 30 days to yesterday, and in the month to date. Bills and
-- estimates name services differently (Amazon Elastic Compute Cloud, ec2:instance); cost_type is the same word in both.
WITH
toDate({window:DateTime('UTC')}, 'UTC') AS today,
least(toStartOfMonth(today), today - 30) AS first_day,
days AS
(
    SELECT
        customer_id, provider, sub_account_id, currency, service_name, cost_type, charge_day,
        sumIf(c.amount, c.cost_kind = 'billed') AS billed,
        sumIf(c.amount, c.cost_kind != 'billed') AS estimated,
        sumIf(c.amount, c.cost_kind = 'billed' AND NOT c.is_final) AS provisional,
        groupUniqArrayIf(c.resource_id, c.resource_id != '') AS named,
        max(c.charge_period_end) AS until
    FROM costs AS c
    WHERE charge_day >= first_day
        AND window_start >= toDateTime(first_day, 'UTC') AND window_start <= {window:DateTime('UTC')}
    GROUP BY customer_id, provider, sub_account_id, currency, service_name, cost_type, charge_day
)
SELECT
    customer_id,
    provider,
    sub_account_id,
    currency,
    service_name,
    cost_type,
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
ARRAY JOIN arrayFilter((name, is_in) -> is_in,
    ['today', 'yesterday', 'last_30_days', 'month_to_date'],
    [charge_day = today, charge_day = today - 1, charge_day BETWEEN today - 30 AND today - 1,
     charge_day >= toStartOfMonth(today)]) AS period
GROUP BY customer_id, provider, sub_account_id, currency, service_name, cost_type, period
