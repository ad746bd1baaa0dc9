-- Cost by day (31), week (9, from Monday) and month (6) up to the running one, and the change against the one before.
--
-- amount, effective, arriving: as in cost summary.
-- days: how much of the period is known of every account. A day counts whole where its bill has settled, also if it cost
--   nothing; of an estimated one, each window is 1/96; of several accounts, the one that is known least. An account counts
--   from the first day that is known of it until 35 days after the last.
-- change: null unless both periods are over and known to at least 95 %. Half a month is not cheaper than a whole one.
--
-- shows: window_start provider period period_start amount currency change change_percent effective billed estimated
--   arriving taxes credits purchases provisional days complete
-- ordered by: provider, currency, period, period_start
-- computed from: cost/daily cost/days
-- empty without: cost_metrics cost_daily cost_days of any time
-- reads: cost/daily since month - 5 months, cost/days since month - 5 months, cost since day, cost_billed since
--   day
-- kept: 7 days
-- key: customer_id provider currency period period_start
WITH
toDate({window:DateTime('UTC')}, 'UTC') AS today,
toStartOfMonth(today) - INTERVAL 5 MONTH AS first_day,
-- What is known of each account, by day; and of all accounts of a provider, on every day on which one counts.
accounts AS
(
    SELECT
        customer_id, provider, sub_account_id,
        mapFromArrays(groupArray(k.charge_day), groupArray(k.known)) AS known_on,
        minIf(k.charge_day, k.known > 0) AS begins,
        maxIf(k.charge_day, k.known > 0) + 35 AS ends
    FROM days_until(
        first = toStartOfMonth(toDate({window:DateTime('UTC')}, 'UTC')) - INTERVAL 5 MONTH,
        window = {window:DateTime('UTC')}) AS k
    GROUP BY customer_id, provider, sub_account_id
    HAVING countIf(k.known > 0) > 0
),
known AS
(
    SELECT customer_id, provider, mapFromArrays(groupArray(day), groupArray(least_known)) AS known_on
    FROM
    (
        SELECT customer_id, provider, day, min(known_on[day]) AS least_known
        FROM accounts
        ARRAY JOIN arrayMap(n -> begins + toIntervalDay(n), range(toUInt32(least(ends, today) - begins + 1))) AS day
        GROUP BY customer_id, provider, day
    )
    GROUP BY customer_id, provider
),
costs AS
(
    SELECT
        customer_id, provider, currency, charge_day,
        countIf(c.cost_kind != 'arriving') AS counted,
        countIf(c.cost_kind != 'arriving' AND isNull(c.effective)) AS not_told,
        countIf(c.cost_kind != 'arriving' AND isNull(c.listed)) AS not_listed,
        sum(c.billed) AS billed,
        sum(c.estimated) AS estimated,
        sum(c.arriving) AS arriving,
        sum(ifNull(c.effective, 0)) AS effective,
        sum(ifNull(c.listed, 0)) AS listed,
        sumIf(c.billed + c.estimated, c.charge_category = 'Purchase') AS purchases,
        sumIf(c.billed + c.estimated, c.charge_category = 'Tax') AS taxes,
        sumIf(c.billed + c.estimated, c.charge_category = 'Credit') AS credits,
        sum(c.provisional) AS provisional
    FROM costs_until(
        first = toStartOfMonth(toDate({window:DateTime('UTC')}, 'UTC')) - INTERVAL 5 MONTH,
        window = {window:DateTime('UTC')}) AS c
    GROUP BY customer_id, provider, currency, charge_day
),
-- The days with costs in a currency, and those that are known to have none in it.
days AS
(
    SELECT
        customer_id, provider, currency, charge_day, k.known_on[charge_day] AS days,
        of_day.1 AS counted, of_day.2 AS not_told, of_day.3 AS billed, of_day.4 AS estimated, of_day.5 AS arriving,
        of_day.6 AS effective, of_day.7 AS purchases, of_day.8 AS taxes, of_day.9 AS credits, of_day.10 AS provisional,
        of_day.11 AS not_listed, of_day.12 AS listed
    FROM
    (
        SELECT
            customer_id, provider, currency,
            mapFromArrays(groupArray(charge_day), groupArray((counted, not_told, billed, estimated, arriving, effective,
                purchases, taxes, credits, provisional, not_listed, listed))) AS costs_on
        FROM costs
        GROUP BY customer_id, provider, currency
    ) AS c
    LEFT JOIN known AS k USING (customer_id, provider)
    ARRAY JOIN arrayDistinct(arrayConcat(mapKeys(c.costs_on), mapKeys(k.known_on))) AS charge_day,
        arrayMap(day -> c.costs_on[day],
            arrayDistinct(arrayConcat(mapKeys(c.costs_on), mapKeys(k.known_on)))) AS of_day
),
periods AS
(
    SELECT
        customer_id, provider, currency, bucket.1 AS period, bucket.2 AS period_start,
        sum(d.billed) AS billed,
        sum(d.estimated) AS estimated,
        sum(d.arriving) AS arriving,
        sum(d.effective) AS effective,
        sum(d.not_told) AS not_told,
        sum(d.listed) AS listed,
        sum(d.not_listed) AS not_listed,
        sum(d.counted) AS counted,
        sum(d.purchases) AS purchases,
        sum(d.taxes) AS taxes,
        sum(d.credits) AS credits,
        billed + estimated AS amount,
        sum(d.provisional) AS provisional,
        sum(d.days) AS days,
        multiIf(period = 'day', period_start + 1, period = 'week', period_start + 7, period_start + INTERVAL 1 MONTH)
            AS period_end,
        multiIf(period = 'day', period_start - 1, period = 'week', period_start - 7, period_start - INTERVAL 1 MONTH)
            AS start_before,
        period_end <= toDate({window:DateTime('UTC')} + INTERVAL 15 MINUTE, 'UTC')
            AND days >= 0.95 * (period_end - period_start) AS complete
    FROM days AS d
    ARRAY JOIN arrayFilter(x -> x.2 >= x.3, [
        ('day', charge_day, today - 30),
        ('week', toMonday(charge_day), greatest(toMonday(first_day + 6), toMonday(today) - 56)),
        ('month', toStartOfMonth(charge_day), first_day)]) AS bucket
    GROUP BY customer_id, provider, currency, period, period_start
    HAVING days > 0 OR counted > 0 OR arriving != 0
),
compared AS
(
    SELECT
        *,
        complete AND lagInFrame(complete) OVER before AND lagInFrame(period_start) OVER before = start_before
            AS is_comparable,
        lagInFrame(amount) OVER before AS amount_before
    FROM periods
    WINDOW before AS
    (
        PARTITION BY customer_id, provider, currency, period ORDER BY period_start
        ROWS BETWEEN 1 PRECEDING AND CURRENT ROW
    )
)
SELECT
    customer_id,
    provider,
    currency,
    period,
    period_start,   -- the first day of the period
    if(days > 0 OR counted > 0, c.amount, NULL) AS amount,
    if((days > 0 OR counted > 0) AND not_told = 0, c.effective, NULL) AS effective,
    if((days > 0 OR counted > 0) AND not_listed = 0, c.listed, NULL) AS listed,
    billed,
    estimated,
    arriving,
    purchases,
    taxes,
    credits,
    if(billed = 0 AND estimated = 0, NULL,
        toFloat64(abs(estimated)) / toFloat64(abs(estimated) + abs(billed))) AS estimated_share,
    provisional,
    days,
    complete,
    if(is_comparable, c.amount - amount_before, NULL) AS change,
    if(is_comparable AND amount_before != 0,
        100 * toFloat64(c.amount - amount_before) / toFloat64(abs(amount_before)), NULL) AS change_percent
FROM compared AS c
