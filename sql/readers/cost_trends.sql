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
-- kept: 7 days
-- key: customer_id provider currency period period_start
WITH
toDate({window:DateTime('UTC')}, 'UTC') AS today,
toStartOfMonth(today) - INTERVAL 5 MONTH AS first_day,
known AS
(
    SELECT *
    FROM days_until(
        first = toStartOfMonth(toDate({window:DateTime('UTC')}, 'UTC')) - INTERVAL 5 MONTH,
        window = {window:DateTime('UTC')})
),
accounts AS
(
    SELECT customer_id, provider, sub_account_id, min(k.charge_day) AS begins, max(k.charge_day) + 35 AS ends
    FROM known AS k
    WHERE known > 0
    GROUP BY customer_id, provider, sub_account_id
),
-- Every day of every account that counts then, known or not.
account_days AS
(
    SELECT customer_id, provider, sub_account_id,
        arrayJoin(arrayMap(n -> begins + toIntervalDay(n), range(toUInt32(least(ends, today) - begins + 1)))) AS charge_day
    FROM accounts
),
known_of_all AS
(
    SELECT customer_id, provider, charge_day, min(k.known) AS days
    FROM account_days AS a
    LEFT JOIN known AS k USING (customer_id, provider, sub_account_id, charge_day)
    GROUP BY customer_id, provider, charge_day
),
costs AS
(
    SELECT
        customer_id, provider, currency, charge_day,
        countIf(c.cost_kind != 'arriving') AS counted,
        countIf(c.cost_kind != 'arriving' AND isNull(c.effective)) AS not_told,
        sum(c.billed) AS billed,
        sum(c.estimated) AS estimated,
        sum(c.arriving) AS arriving,
        sum(ifNull(c.effective, 0)) AS effective,
        sumIf(c.billed + c.estimated, c.charge_category = 'Purchase') AS purchases,
        sumIf(c.billed + c.estimated, c.charge_category = 'Tax') AS taxes,
        sumIf(c.billed + c.estimated, c.charge_category = 'Credit') AS credits,
        sum(c.provisional) AS provisional
    FROM costs_until(
        first = toStartOfMonth(toDate({window:DateTime('UTC')}, 'UTC')) - INTERVAL 5 MONTH,
        window = {window:DateTime('UTC')}) AS c
    GROUP BY customer_id, provider, currency, charge_day
),
-- Days with costs, and those that are known to have none in a currency that the provider charges in.
days AS
(
    SELECT *
    FROM
    (
        SELECT customer_id, provider, h.currency AS currency, k.charge_day AS charge_day, k.days AS days
        FROM known_of_all AS k
        INNER JOIN (SELECT DISTINCT customer_id, provider, currency FROM costs) AS h USING (customer_id, provider)
    ) AS every
    FULL JOIN costs USING (customer_id, provider, currency, charge_day)
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
