-- What each service has cost: today so far, yesterday, in the 30 days to yesterday, and in the month to date. Estimates
-- name services as the bill does; where that is not known, by the kind of resource.
--
-- amount, effective, arriving: as in cost summary.
-- cost_type: of a service that is charged for several, `other`.
--
-- shows: window_start period provider service_name amount effective currency cost_type taxes credits purchases
--   billed estimated arriving provisional resources sub_account_id as_of
-- ordered by: period, currency, amount DESC
-- computed from: cost/daily
-- empty without: cost_metrics cost_daily cost_days of any time
-- reads: cost/daily since day - 30 days, cost since day, cost_billed since day
-- kept: 90 days
-- key: customer_id provider sub_account_id service_name currency cost_type period
SELECT
    customer_id,
    provider,
    sub_account_id,
    currency,
    service_name,
    if(uniqExact(c.cost_type) = 1, any(c.cost_type), 'other') AS cost_type,
    period,
    sum(c.billed) AS billed,
    sum(c.estimated) AS estimated,
    if(countIf(c.cost_kind != 'arriving') = 0, NULL, sum(c.billed + c.estimated)) AS amount,
    if(countIf(c.cost_kind != 'arriving' AND isNull(c.effective)) > 0, NULL, sum(c.effective)) AS effective,
    if(countIf(c.cost_kind != 'arriving' AND isNull(c.listed)) > 0, NULL, sum(c.listed)) AS listed,
    sumIf(c.billed + c.estimated, c.charge_category = 'Usage') AS usage,
    sumIf(c.billed + c.estimated, c.charge_category = 'Purchase') AS purchases,
    sumIf(c.billed + c.estimated, c.charge_category = 'Tax') AS taxes,
    sumIf(c.billed + c.estimated, c.charge_category = 'Credit') AS credits,
    sumIf(c.billed + c.estimated, c.charge_category = 'Adjustment') AS adjustments,
    sum(c.arriving) AS arriving,
    if(sum(c.estimated) = 0 AND sum(c.billed) = 0, NULL,
        toFloat64(abs(sum(c.estimated))) / toFloat64(abs(sum(c.estimated)) + abs(sum(c.billed)))) AS estimated_share,
    sum(c.provisional) AS provisional,
    uniqExactIf(c.resource_id, c.resource_id != '') AS resources,
    max(c.until) AS as_of
FROM recent_costs(window = {window:DateTime('UTC')}) AS c
ARRAY JOIN c.periods AS period
GROUP BY customer_id, provider, sub_account_id, currency, service_name, period
