-- What each account has cost: today so far, yesterday, in the 30 days to yesterday, and in the month to date.
--
-- shows: window_start provider sub_account_id period amount currency billed estimated estimated_share provisional days
--   as_of
-- ordered by: provider, days, sub_account_id, period
-- kept: 90 days
-- key: customer_id provider sub_account_id currency period
-- table: cost_summary 5f484bde
WITH days AS
(
    SELECT
        customer_id, provider, sub_account_id, currency, charge_day,
        any(c.periods) AS periods,
        sum(c.billed) AS billed,
        sum(c.estimated) AS estimated,
        sum(c.provisional) AS provisional,
        if(countIf(c.cost_kind = 'billed') > 0, 1, uniqExact(c.window_start) / 96) AS known,
        max(c.charge_period_end) AS until
    FROM recent_costs(window = {window:DateTime('UTC')}) AS c
    GROUP BY customer_id, provider, sub_account_id, currency, charge_day
)
SELECT
    customer_id,
    provider,
    sub_account_id,
    currency,
    period,
    sum(d.billed) AS billed,
    sum(d.estimated) AS estimated,
    sum(d.billed + d.estimated) AS amount,
    abs(estimated) + abs(billed) AS both,
    if(both = 0, NULL, toFloat64(abs(estimated)) / toFloat64(both)) AS estimated_share,
    sum(d.provisional) AS provisional,
    sum(d.known) AS days,
    max(d.until) AS as_of
FROM days AS d
ARRAY JOIN periods AS period
GROUP BY customer_id, provider, sub_account_id, currency, period
