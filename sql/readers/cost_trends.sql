-- Cost by day (31), week (9, from Monday) and month (6) up to the running one, and the change against the one before.
--
-- days: how much of the period a cost is known of. A day counts whole where it was billed; of an estimated one, each
--   window is 1/96.
-- change: null unless both periods are over and known to at least 95 %. Half a month is not cheaper than a whole one.
--
-- shows: window_start provider period period_start amount currency change change_percent billed estimated provisional
--   days complete
-- ordered by: provider, currency, period, period_start
-- kept: 7 days
-- key: customer_id provider currency period period_start
-- table: cost_trends 4fd48b3e
WITH
toDate({window:DateTime('UTC')}, 'UTC') AS today,
toStartOfMonth(today) - INTERVAL 5 MONTH AS first_day,
days AS
(
    SELECT
        customer_id, provider, currency, charge_day,
        sumIf(c.amount, c.cost_kind = 'billed') AS billed,
        sumIf(c.amount, c.cost_kind != 'billed') AS estimated,
        sumIf(c.amount, c.cost_kind = 'billed' AND NOT c.is_final) AS provisional,
        if(countIf(c.cost_kind = 'billed') > 0, 1, uniqExact(c.window_start) / 96) AS known
    FROM costs AS c
    WHERE charge_day >= first_day
        AND window_start >= toDateTime(first_day, 'UTC') AND window_start <= {window:DateTime('UTC')}
    GROUP BY customer_id, provider, currency, charge_day
),
periods AS
(
    SELECT
        customer_id, provider, currency, bucket.1 AS period, bucket.2 AS period_start,
        sum(d.billed) AS billed,
        sum(d.estimated) AS estimated,
        billed + estimated AS amount,
        sum(d.provisional) AS provisional,
        sum(d.known) AS days,
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
    amount,
    billed,
    estimated,
    abs(estimated) + abs(billed) AS both,
    if(both = 0, NULL, toFloat64(abs(estimated)) / toFloat64(both)) AS estimated_share,
    provisional,
    days,
    complete,
    if(is_comparable, amount - amount_before, NULL) AS change,
    if(is_comparable AND amount_before != 0,
        100 * toFloat64(amount - amount_before) / toFloat64(abs(amount_before)), NULL) AS change_percent
FROM compared
