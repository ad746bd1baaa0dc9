-- What each resource has cost: today so far, yesterday, in the 30 days to yesterday, and in the month to date. What a
-- bill charges for no resource by name is one row of each account, with an empty resource_id: taxes, and all of it where
-- the bill tells services only.
WITH
toDate({window:DateTime('UTC')}, 'UTC') AS today,
least(toStartOfMonth(today), today - 30) AS first_day,
days AS
(
    SELECT
        customer_id, provider, sub_account_id, currency, resource_id, service_name, charge_day,
        argMax(c.resource_name, c.window_start) AS name,
        argMax(c.region_id, c.window_start) AS region,
        argMax(c.cost_type, c.window_start) AS type,
        max(c.matched) AS is_known,
        sumIf(c.amount, c.cost_kind = 'billed') AS billed,
        sumIf(c.amount, c.cost_kind != 'billed') AS estimated,
        sumIf(c.amount, c.cost_kind = 'billed' AND NOT c.is_final) AS provisional,
        max(c.charge_period_end) AS until
    FROM costs AS c
    WHERE charge_day >= first_day
        AND window_start >= toDateTime(first_day, 'UTC') AND window_start <= {window:DateTime('UTC')}
    GROUP BY customer_id, provider, sub_account_id, currency, resource_id, service_name, charge_day
),
services AS
(
    SELECT
        customer_id, provider, sub_account_id, currency, resource_id, service_name, period,
        argMax(d.name, (d.name != '', d.charge_day)) AS name,
        argMax(d.region, (d.region != '', d.charge_day)) AS region,
        argMax(d.type, (d.type != 'other', d.charge_day)) AS type,
        max(d.is_known) AS is_known,
        sum(d.billed) AS billed,
        sum(d.estimated) AS estimated,
        sum(d.provisional) AS provisional,
        max(d.until) AS until
    FROM days AS d
    ARRAY JOIN arrayFilter((name, is_in) -> is_in,
        ['today', 'yesterday', 'last_30_days', 'month_to_date'],
        [charge_day = today, charge_day = today - 1, charge_day BETWEEN today - 30 AND today - 1,
         charge_day >= toStartOfMonth(today)]) AS period
    GROUP BY customer_id, provider, sub_account_id, currency, resource_id, service_name, period
)
SELECT
    customer_id,
    provider,
    sub_account_id,
    currency,
    resource_id,
    period,
    if(resource_id = '', '', argMax(s.name, (s.name != '', s.until))) AS resource_name,
    if(resource_id = '', '', argMax(s.region, (s.region != '', s.until))) AS region_id,
    if(resource_id = '', 'other', argMax(s.type, (s.type != 'other', s.until))) AS cost_type,
    max(s.is_known) AS matched,
    arrayStringConcat(arrayMap(x -> x.2, arraySort(x -> (-x.1, x.2),
        groupArray((s.billed + s.estimated, toString(s.service_name))))), ', ') AS services,
    sum(s.billed) AS billed,
    sum(s.estimated) AS estimated,
    sum(s.billed + s.estimated) AS amount,
    abs(estimated) + abs(billed) AS both,
    if(both = 0, NULL, toFloat64(abs(estimated)) / toFloat64(both)) AS estimated_share,
    sum(s.provisional) AS provisional,
    max(s.until) AS as_of
FROM services AS s
GROUP BY customer_id, provider, sub_account_id, currency, resource_id, period
