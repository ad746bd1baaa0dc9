-- What each resource has cost: today so far, yesterday, in the 30 days to yesterday, and in the month to date. What a
-- bill charges for no resource by name is one row of each account, with an empty resource_id: taxes, and all of it where
-- the bill tells services only.
--
-- amount, effective, arriving: as in cost summary.
-- resource_name, region_id, cost_type, tags: of its newest day that has one; of several there, of the dearest line.
--
-- shows: window_start period provider resource_name amount effective currency cost_type billed estimated arriving
--   provisional services region_id sub_account_id as_of tags resource_id
-- ordered by: period, currency, amount DESC
-- computed from: cost/daily
-- empty without: cost_metrics cost_daily cost_days of any time
-- reads: cost/daily since day - 30 days, cost since day, cost_billed since day
-- kept: 3 days
-- key: customer_id provider resource_id sub_account_id currency period
-- types: resource_id String, resource_name String, services String, tags String
WITH services AS
(
    SELECT
        customer_id, provider, sub_account_id, currency, resource_id, service_name, period,
        argMax((c.resource_name, c.charge_day, abs(c.billed + c.estimated)),
            (c.resource_name != '', c.charge_day, abs(c.billed + c.estimated), c.resource_name)) AS name,
        argMax((c.region_id, c.charge_day, abs(c.billed + c.estimated)),
            (c.region_id != '', c.charge_day, abs(c.billed + c.estimated), c.region_id)) AS region,
        argMax((c.cost_type, c.charge_day, abs(c.billed + c.estimated)),
            (c.cost_type != 'other', c.charge_day, abs(c.billed + c.estimated), c.cost_type)) AS type,
        argMax((c.tags, c.charge_day, abs(c.billed + c.estimated)),
            (c.tags != '', c.charge_day, abs(c.billed + c.estimated), c.tags)) AS tagged,
        max(c.matched) AS is_known,
        countIf(c.cost_kind != 'arriving') AS counted,
        countIf(c.cost_kind != 'arriving' AND isNull(c.effective)) AS not_told,
        countIf(c.cost_kind != 'arriving' AND isNull(c.listed)) AS not_listed,
        sum(c.billed) AS billed,
        sum(c.estimated) AS estimated,
        sum(c.arriving) AS arriving,
        sum(ifNull(c.effective, 0)) AS effective,
        sum(ifNull(c.listed, 0)) AS listed,
        sum(c.provisional) AS provisional,
        max(c.until) AS until
    FROM recent_costs(window = {window:DateTime('UTC')}) AS c
    ARRAY JOIN c.periods AS period
    GROUP BY customer_id, provider, sub_account_id, currency, resource_id, service_name, period
)
SELECT
    customer_id,
    provider,
    sub_account_id,
    currency,
    resource_id,
    period,
    if(resource_id = '', '', argMax(s.name.1, (s.name.1 != '', s.name.2, s.name.3, s.name.1))) AS resource_name,
    if(resource_id = '', '', argMax(s.region.1, (s.region.1 != '', s.region.2, s.region.3, s.region.1))) AS region_id,
    if(resource_id = '', 'other', argMax(s.type.1, (s.type.1 != 'other', s.type.2, s.type.3, s.type.1))) AS cost_type,
    if(resource_id = '', '', argMax(s.tagged.1, (s.tagged.1 != '', s.tagged.2, s.tagged.3, s.tagged.1))) AS tags,
    max(s.is_known) AS matched,
    arrayStringConcat(arrayMap(x -> x.2, arraySort(x -> (-x.1, x.2),
        groupArray((s.billed + s.estimated, toString(s.service_name))))), ', ') AS services,
    sum(s.billed) AS billed,
    sum(s.estimated) AS estimated,
    if(sum(s.counted) = 0, NULL, sum(s.billed + s.estimated)) AS amount,
    if(sum(s.counted) = 0 OR sum(s.not_told) > 0, NULL, sum(s.effective)) AS effective,
    if(sum(s.counted) = 0 OR sum(s.not_listed) > 0, NULL, sum(s.listed)) AS listed,
    sum(s.arriving) AS arriving,
    if(sum(s.estimated) = 0 AND sum(s.billed) = 0, NULL,
        toFloat64(abs(sum(s.estimated))) / toFloat64(abs(sum(s.estimated)) + abs(sum(s.billed)))) AS estimated_share,
    sum(s.provisional) AS provisional,
    max(s.until) AS as_of
FROM services AS s
GROUP BY customer_id, provider, sub_account_id, currency, resource_id, period
