-- What each account has cost: today so far, yesterday, in the 30 days to yesterday, and in the month to date.
--
-- amount: the bill where a day has settled, else the estimates; null where nothing is known. `usage`, `purchases`,
--   `taxes`, `credits` and `adjustments` are its parts, `effective` is with commitments spread over what they cover; null
--   where the bill does not tell it of a part.
-- arriving: what the bill says so far of days that have not settled; no part of the amount.
-- days: how many of the period's days are known. A day counts whole where its bill has settled, also if it cost nothing; of
--   an estimated one, each window is 1/96.
--
-- shows: window_start provider sub_account_id period amount effective currency arriving billed estimated
--   estimated_share taxes credits purchases provisional days complete as_of
-- ordered by: provider, days, sub_account_id, period
-- computed from: cost/daily cost/days
-- empty without: cost_metrics cost_daily cost_days of any time
-- reads: cost/daily since day - 30 days, cost/days since day - 30 days, cost since day, cost_billed since day
-- kept: 90 days
-- key: customer_id provider sub_account_id currency period
WITH
toDate({window:DateTime('UTC')}, 'UTC') AS today,
known AS
(
    SELECT
        customer_id, provider, sub_account_id, period,
        sum(d.known) AS days,
        sumIf(d.known, d.charge_day < today) AS days_over
    FROM days_until(
        first = least(toStartOfMonth(toDate({window:DateTime('UTC')}, 'UTC')), toDate({window:DateTime('UTC')}, 'UTC') - 30),
        window = {window:DateTime('UTC')}) AS d
    ARRAY JOIN arrayFilter((name, is_in) -> is_in,
        ['today', 'yesterday', 'last_30_days', 'month_to_date'],
        [d.charge_day = today, d.charge_day = today - 1, d.charge_day BETWEEN today - 30 AND today - 1,
         d.charge_day >= toStartOfMonth(today)]) AS period
    GROUP BY customer_id, provider, sub_account_id, period
),
-- Each account's periods in every currency that it is charged in: of a day that is known and has no charge, nothing.
costs AS
(
    SELECT
        customer_id, provider, sub_account_id, currency, period,
        countIf(is_in) AS lines,
        countIf(is_in AND c.cost_kind != 'arriving') AS counted,
        sumIf(c.billed, is_in) AS billed,
        sumIf(c.estimated, is_in) AS estimated,
        sumIf(c.arriving, is_in) AS arriving,
        sumIf(c.provisional, is_in) AS provisional,
        countIf(is_in AND c.cost_kind != 'arriving' AND isNull(c.effective)) > 0 AS not_told,
        sumIf(ifNull(c.effective, 0), is_in) AS effective,
        countIf(is_in AND c.cost_kind != 'arriving' AND isNull(c.listed)) > 0 AS not_listed,
        sumIf(ifNull(c.listed, 0), is_in) AS listed,
        sumIf(c.billed + c.estimated, is_in AND c.charge_category = 'Usage') AS usage,
        sumIf(c.billed + c.estimated, is_in AND c.charge_category = 'Purchase') AS purchases,
        sumIf(c.billed + c.estimated, is_in AND c.charge_category = 'Tax') AS taxes,
        sumIf(c.billed + c.estimated, is_in AND c.charge_category = 'Credit') AS credits,
        sumIf(c.billed + c.estimated, is_in AND c.charge_category = 'Adjustment') AS adjustments,
        maxIf(c.until, is_in) AS until
    FROM (SELECT *, ['today', 'yesterday', 'last_30_days', 'month_to_date'] AS every
        FROM recent_costs(window = {window:DateTime('UTC')})) AS c
    ARRAY JOIN c.every AS period, arrayMap(p -> has(c.periods, p), c.every) AS is_in
    GROUP BY customer_id, provider, sub_account_id, currency, period
),
told AS
(
    SELECT
        customer_id, provider, sub_account_id, currency, period,
        k.days AS days, k.days_over AS days_over, c.lines AS lines, c.not_told AS not_told, c.billed AS billed,
        c.estimated AS estimated, c.arriving AS arriving, c.provisional AS provisional, c.effective AS effective,
        c.not_listed AS not_listed, c.listed AS listed, c.usage AS usage, c.purchases AS purchases, c.taxes AS taxes, c.credits AS credits,
        c.adjustments AS adjustments, c.until AS until,
        k.days > 0 OR c.counted > 0 AS is_known
    FROM costs AS c
    LEFT JOIN known AS k USING (customer_id, provider, sub_account_id, period)
    WHERE is_known OR c.lines > 0
)
SELECT
    customer_id,
    provider,
    sub_account_id,
    currency,
    period,
    t.billed AS billed,
    t.estimated AS estimated,
    if(is_known, t.billed + t.estimated, NULL) AS amount,
    if(is_known AND NOT t.not_told, t.effective, NULL) AS effective,
    if(is_known AND NOT t.not_listed, t.listed, NULL) AS listed,
    if(is_known, t.usage, NULL) AS usage,
    if(is_known, t.purchases, NULL) AS purchases,
    if(is_known, t.taxes, NULL) AS taxes,
    if(is_known, t.credits, NULL) AS credits,
    if(is_known, t.adjustments, NULL) AS adjustments,
    t.arriving AS arriving,
    if(t.estimated = 0 AND t.billed = 0, NULL,
        toFloat64(abs(t.estimated)) / toFloat64(abs(t.estimated) + abs(t.billed))) AS estimated_share,
    t.provisional AS provisional,
    t.days AS days,
    t.days_over >= 0.95 * multiIf(period = 'yesterday', 1, period = 'last_30_days', 30, period = 'today', 1,
        greatest(1, today - toStartOfMonth(today))) AS complete,   -- of the days that are over
    if(t.lines > 0, t.until, toDateTime(today, 'UTC')) AS as_of
FROM told AS t
