-- What each resource has cost: today so far, yesterday, in the 30 days to yesterday, and in the month to date. What a
-- bill charges for no resource by name is one row of each account, with an empty resource_id: taxes, and all of it where
-- the bill tells services only.
--
-- shows: window_start period provider resource_name cost_type amount currency billed estimated provisional services
--   region_id sub_account_id as_of resource_id
-- ordered by: period, currency, amount DESC
-- kept: 3 days
-- key: customer_id provider resource_id sub_account_id currency period
-- types: resource_id String, resource_name String, services String
-- table: cost_by_resource 7ba8d363
WITH
days AS
(
    SELECT
        customer_id, provider, sub_account_id, currency, resource_id, service_name, charge_day,
        argMax(c.resource_name, c.window_start) AS name,
        argMax(c.region_id, c.window_start) AS region,
        argMax(c.cost_type, c.window_start) AS type,
        max(c.matched) AS is_known,
        any(c.periods) AS periods,
        sum(c.billed) AS billed,
        sum(c.estimated) AS estimated,
        sum(c.provisional) AS provisional,
        max(c.charge_period_end) AS until
    FROM recent_costs(window = {window:DateTime('UTC')}) AS c
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
    ARRAY JOIN periods AS period
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
