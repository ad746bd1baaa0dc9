-- Reservations, savings plans and committed use of the running month and the 5 before it: what was used of each, what was
-- paid for nothing, and how much of what they could cover they cover. Of days whose bill has settled.
--
-- used, unused: the effective cost of what was used of the commitment by the account, and of what was not, which is told
--   with the account that bought it. Null where the bill does not tell which is which, or not the effective cost.
-- utilisation: used / (used + unused), of the whole commitment in all accounts.
-- covered: what the account's use would have cost by list prices; saved is covered - used - unused.
-- coverage: covered / eligible. Eligible is, by list prices, all use of the services that any commitment covers in the
--   account in that month, spot machines apart. The commitments of an account add up to its coverage.
--
-- shows: window_start month provider commitment_id commitment_type used unused utilisation covered coverage saved currency
--   purchased eligible sub_account_id is_final
-- ordered by: month DESC, provider, currency, unused DESC
-- if empty: no bill that was read names a commitment
-- empty without: cost_metrics of any time
-- reads: cost_billed since month - 5 months
-- kept: 7 days
-- key: customer_id provider sub_account_id commitment_id currency month
WITH
toStartOfMonth(toDate({window:DateTime('UTC')}, 'UTC')) - INTERVAL 5 MONTH AS first_day,
services AS
(
    SELECT
        customer_id, provider, sub_account_id, currency, service_name, commitment_id,
        toStartOfMonth(c.window_start) AS month,
        max(c.commitment_type) AS type,
        countIf(c.commitment_status != '') AS told,
        countIf(c.commitment_status = 'Used') AS uses,
        countIf(c.commitment_status != '' AND isNull(c.effective_cost)) AS without_effective,
        countIf(c.commitment_status = 'Used' AND isNull(c.list_cost)) AS without_list,
        sumIf(ifNull(c.effective_cost, 0), c.commitment_status = 'Used') AS used,
        sumIf(ifNull(c.effective_cost, 0), c.commitment_status = 'Unused') AS unused,
        sumIf(ifNull(c.list_cost, 0), c.commitment_status = 'Used') AS covered,
        sumIf(c.amount, c.charge_category = 'Purchase') AS purchased,
        c.commitment_status = 'Used'
            OR (c.commitment_id = '' AND c.charge_category = 'Usage' AND c.pricing_category != 'Dynamic') AS is_eligible,
        sum(ifNull(c.list_cost, 0)) AS listed,
        countIf(isNull(c.list_cost)) AS not_listed,
        countIf(NOT c.is_final) AS open
    FROM cost_metrics AS c
    WHERE cost_kind = 'billed' AND is_settled AND cost_type NOT IN ('reading', 'left_out')
        AND window_start >= toDateTime(first_day, 'UTC') AND window_start <= {window:DateTime('UTC')}
        AND (customer_id, provider) IN
        (
            SELECT customer_id, provider FROM cost_metrics
            WHERE commitment_id != '' AND window_start >= toDateTime(first_day, 'UTC')
        )
        AND (customer_id, provider, window_start, batch) IN
        (
            SELECT customer_id, provider, window_start, batch FROM published_batches
            WHERE dataset = 'cost_billed' AND window_start >= toDateTime(first_day, 'UTC')
        )
    GROUP BY customer_id, provider, sub_account_id, currency, service_name, commitment_id, month, is_eligible
),
of_services AS
(
    SELECT
        *,
        is_eligible AND sum(uses) OVER
            (PARTITION BY customer_id, provider, sub_account_id, currency, month, service_name) > 0 AS could_be_covered
    FROM services
),
of_accounts AS
(
    SELECT
        *,
        sumIf(listed, could_be_covered) OVER account AS eligible,
        sumIf(not_listed, could_be_covered) OVER account AS eligible_unknown
    FROM of_services
    WINDOW account AS (PARTITION BY customer_id, provider, sub_account_id, currency, month)
),
commitments AS
(
    SELECT
        customer_id, provider, sub_account_id, currency, commitment_id, month,
        max(a.type) AS type,
        sum(a.told) AS told,
        sum(a.without_effective) AS without_effective,
        sum(a.without_list) AS without_list,
        sum(a.used) AS used,
        sum(a.unused) AS unused,
        sum(a.covered) AS covered,
        sum(a.purchased) AS purchased,
        any(a.eligible) AS eligible,
        any(a.eligible_unknown) AS eligible_unknown,
        sum(a.open) AS open
    FROM of_accounts AS a
    WHERE commitment_id != ''
    GROUP BY customer_id, provider, sub_account_id, currency, commitment_id, month
),
compared AS
(
    SELECT
        *,
        sum(told) OVER whole > 0 AND sum(without_effective) OVER whole = 0 AS is_told,
        sum(used) OVER whole AS all_used,
        sum(used + unused) OVER whole AS all_paid
    FROM commitments
    WINDOW whole AS (PARTITION BY customer_id, provider, commitment_id, currency, month)
)
SELECT
    customer_id,
    provider,
    sub_account_id,
    currency,
    commitment_id,   -- as in the bill: an ARN, an order's id
    type AS commitment_type,   -- in the cloud's words
    month,   -- its first day
    if(is_told, c.used, NULL) AS used,   -- effective cost of what the account used of it
    if(is_told, c.unused, NULL) AS unused,   -- effective cost of what nobody used
    if(is_told AND all_paid > 0, toFloat64(all_used) / toFloat64(all_paid), NULL) AS utilisation,   -- of the whole commitment, 0 to 1
    if(c.told = 0 OR without_list > 0, NULL, c.covered) AS covered,   -- what the use would have cost by list prices
    if(is_told AND c.told > 0 AND without_list = 0, c.covered - c.used - c.unused, NULL) AS saved,   -- negative: it cost more than it saved
    c.purchased AS purchased,   -- fees that were billed, whatever they are for
    if(eligible_unknown > 0, NULL, c.eligible) AS eligible,   -- by list prices, what commitments could cover in the account
    if(c.told = 0 OR without_list > 0 OR eligible_unknown > 0 OR c.eligible <= 0, NULL,
        toFloat64(c.covered) / toFloat64(c.eligible)) AS coverage,   -- by this commitment, 0 to 1
    open = 0 AS is_final   -- true: the cloud does not restate any of it
FROM compared AS c
