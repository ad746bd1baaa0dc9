-- What the bills of the running month and the 12 before it say, by invoice, and why a statement is not the sum of the
-- charges of its calendar month's days.
--
-- total: charges + left_out. All invoices of a statement together are the statement to the last digit.
-- charges: usage + purchases + taxes + credits + adjustments. Part of them are of_earlier_months, such as refunds and
--   corrections, and of_later_months: Google's months end with the day in California, which is the first here.
-- left_out: what the statement has and the charges here have not; left_out_because says of whom or what.
-- statement, by_days, differs, because: of the whole statement, the same in the rows of all its invoices. by_days is what
--   the month's days were charged, on whichever bill; differs is statement - by_days, and because names the sums it is of.
--
-- shows: window_start billing_period provider billing_account_id invoice_id total currency is_final usage purchases taxes
--   credits adjustments left_out differs because of_earlier_months of_later_months arriving charges statement by_days
--   left_out_because payer_account_id as_of
-- ordered by: billing_period DESC, provider, billing_account_id, currency, total DESC
-- if empty: no bill was read of these months
-- empty without: cost_metrics of any time
-- reads: cost_billed since month - 13 months
-- kept: 7 days
-- key: customer_id provider billing_account_id billing_period invoice_id currency
-- types: because String, left_out_because String
WITH
toStartOfMonth(toDate({window:DateTime('UTC')}, 'UTC')) - INTERVAL 12 MONTH AS first_period,
parts AS
(
    SELECT
        customer_id, provider, billing_account_id, currency, billing_period, invoice_id,
        toStartOfMonth(c.window_start) AS charge_month,
        if(c.cost_type = 'left_out', c.charge_description, '') AS reason,
        sum(c.amount) AS total,
        sumIf(c.amount, c.charge_category = 'Usage') AS usage,
        sumIf(c.amount, c.charge_category = 'Purchase') AS purchases,
        sumIf(c.amount, c.charge_category = 'Tax') AS taxes,
        sumIf(c.amount, c.charge_category = 'Credit') AS credits,
        sumIf(c.amount, c.charge_category = 'Adjustment') AS adjustments,
        sumIf(c.amount, NOT c.is_settled) AS arriving,
        countIf(NOT c.is_final) AS open,
        max(c.payer_account_id) AS payer,
        max(c.collected_at) AS read_at
    FROM cost_metrics AS c
    WHERE cost_kind = 'billed' AND cost_type != 'reading' AND window_start <= {window:DateTime('UTC')}
        AND (billing_period >= first_period OR window_start >= toDateTime(first_period, 'UTC'))
        AND (customer_id, provider, window_start, batch) IN
        (
            SELECT customer_id, provider, window_start, batch FROM published_batches WHERE dataset = 'cost_billed'
        )
    GROUP BY customer_id, provider, billing_account_id, currency, billing_period, invoice_id, charge_month, reason
),
-- What was left out has no invoice: it goes with the statement's only one, where there is one only.
placed AS
(
    SELECT
        * EXCEPT (invoice_id),
        if(reason = '', invoice_id,
            if(uniqExactIf(invoice_id, reason = '') OVER of_statement = 1,
                maxIf(invoice_id, reason = '') OVER of_statement, '')) AS on_invoice
    FROM parts
    WINDOW of_statement AS (PARTITION BY customer_id, provider, billing_account_id, currency, billing_period)
),
-- Each charge counts in its statement and, with no invoice, in the month of its day.
months AS
(
    SELECT
        customer_id, provider, billing_account_id, currency,
        role.1 AS period, role.2 AS of_statement, if(of_statement, p.on_invoice, '') AS invoice,
        sumIf(p.total, of_statement AND p.reason = '') AS charges,
        sumIf(p.total, of_statement AND p.reason = '' AND p.charge_month < p.billing_period) AS earlier,
        sumIf(p.total, of_statement AND p.reason = '' AND p.charge_month > p.billing_period) AS later,
        sumIf(p.total, of_statement AND p.reason != '') AS not_here,
        sumIf(p.total, NOT of_statement) AS of_days,
        sumIf(p.total, NOT of_statement AND p.charge_month != p.billing_period) AS elsewhere,
        sum(p.usage) AS usage,
        sum(p.purchases) AS purchases,
        sum(p.taxes) AS taxes,
        sum(p.credits) AS credits,
        sum(p.adjustments) AS adjustments,
        sumIf(p.arriving, p.reason = '') AS arriving,
        countIf(p.reason = '') AS lines,
        sum(p.open) AS open,
        arraySort(groupArrayIf((toString(p.reason), p.total), p.reason != '')) AS reasons,
        max(p.payer) AS payer,
        max(p.read_at) AS read_at
    FROM placed AS p
    ARRAY JOIN if(p.reason = '', [(p.billing_period, true), (p.charge_month, false)], [(p.billing_period, true)]) AS role
    GROUP BY customer_id, provider, billing_account_id, currency, period, of_statement, invoice
),
compared AS
(
    SELECT
        *,
        sum(charges + not_here) OVER each AS all_of_statement,
        sum(of_days) OVER each AS all_of_days,
        sum(not_here) OVER each AS all_not_here,
        sum(earlier) OVER each AS all_earlier,
        sum(later) OVER each AS all_later,
        sum(elsewhere) OVER each AS all_elsewhere
    FROM months
    WINDOW each AS (PARTITION BY customer_id, provider, billing_account_id, currency, period)
)
SELECT
    customer_id,
    provider,
    billing_account_id,   -- the bill that was read: an account, an export's place, a billing table
    payer AS payer_account_id,   -- who is invoiced; empty where the bill does not tell it
    period AS billing_period,   -- the first day of the month whose bill it is
    invoice AS invoice_id,   -- the number of the invoice; empty before there is one
    currency,
    charges + not_here AS total,   -- of the invoice: the charges and what was left out of them
    m.charges AS charges,   -- what is charged to the accounts of the customers file
    m.usage AS usage,
    m.purchases AS purchases,
    m.taxes AS taxes,
    m.credits AS credits,
    m.adjustments AS adjustments,
    earlier AS of_earlier_months,   -- of the charges: of days before the month, such as corrections
    later AS of_later_months,   -- of the charges: of days after the month, by UTC
    not_here AS left_out,   -- what the statement has and the charges here have not
    arrayStringConcat(arrayMap(reason -> toString(arraySum(arrayMap(r -> if(r.1 = reason, r.2, 0), reasons)))
        || ' ' || reason, arrayDistinct(arrayMap(r -> r.1, reasons))), ', ') AS left_out_because,   -- the sums left out, and of whom or what each is
    m.arriving AS arriving,   -- of the charges: of days of which more is to come
    lines > 0 AND open = 0 AS is_final,   -- true: the cloud does not restate any of its charges any more
    all_of_statement AS statement,   -- the total of all invoices of the month
    all_of_days AS by_days,   -- what the month's days were charged, on whichever bill
    all_of_statement - all_of_days AS differs,   -- statement - by_days
    arrayStringConcat(arrayMap(r -> toString(r.1) || ' ' || r.2, arrayFilter(r -> r.1 != 0, [
        (all_not_here, 'left out'),
        (all_earlier, 'of days of earlier months'),
        (all_later, 'of days of later months'),
        (-all_elsewhere, 'of its days, on other months\' bills')])), ', ') AS because,   -- the sums that `differs` is of
    read_at AS as_of   -- when the newest of it was read
FROM compared AS m
WHERE of_statement AND period >= first_period
