-- What each account's month will have cost when it is over, and whether its newest day was a usual one; by account
-- (scope `account`) and by service (scope `service`).
--
-- Whole days count: of the account's settled bills, or of whole estimates where there is no bill of the last ten days.
-- An estimated day beside bills is taken for what the bill says of days that were estimated alike.
--
-- usual_day: the median of the seven whole days before `day`, with the share that the day of the week has where it
--   differs, and with the fee that the month before had about then.
-- forecast: the days that are known, as far as the bill is restated later, the usual day of all others, and fees that
--   came in each of the two months before and not yet in this one. What came once is not expected again.
-- low, high: a 90 % interval. It rests on how far days and weeks were off each other, how much of published days was
--   restated, and how sure the fees are; what has never happened in these three months is not in it.
-- is_unusual: off by more than four standard deviations of a day, a tenth of the usual one, and a hundredth of the
--   account's.
-- causes: of an unusual day, what differs most from the seven days before, the dearest first, with what is known of it:
--   changes of resources, of list prices, and of network traffic.
-- reason: why something is null.
--
-- shows: window_start provider sub_account_id scope service_name month_to_date forecast low high currency day usual_day
--   unusual_by is_unusual causes reason days fees as_of
-- ordered by: provider, sub_account_id, currency, scope, forecast DESC
-- computed from: cost/daily cost/days resource/changes performance/daily
-- empty without: cost_metrics cost_daily cost_days of any time
-- reads: cost/daily since month - 2 months, cost/days since month - 2 months, cost since day, cost_billed since
--   month - 2 months, resource/changes since day - 11 days, performance/daily since day - 15 days to day, prices,
--   cost_restated
-- kept: 90 days
-- key: customer_id provider sub_account_id currency scope service_name
-- types: causes String
WITH
toDate({window:DateTime('UTC')}, 'UTC') AS today,
-- Days are counted from the first of the month before last; three months are at most 92 days.
toStartOfMonth(today) - INTERVAL 2 MONTH AS first_day,
-- Of an even number of values the upper one of the two in the middle; 0 of none.
(a -> arrayReduce('medianExactOrDefault', a)) AS med,
-- The medians of each seven values, and those of each value's seven: the nearest ones.
(v -> arrayMap((a, b, c, d, e, f, g) -> arraySort([a, b, c, d, e, f, g])[4],
    arraySlice(v, 1, length(v) - 6), arraySlice(v, 2, length(v) - 6), arraySlice(v, 3, length(v) - 6),
    arraySlice(v, 4, length(v) - 6), arraySlice(v, 5, length(v) - 6), arraySlice(v, 6, length(v) - 6),
    arraySlice(v, 7, length(v) - 6))) AS of_seven,
((m, n) -> arrayResize(arrayConcat([m[1], m[1], m[1]], m, [m[-1], m[-1], m[-1]]), n)) AS spread,
-- A figure as an amount, to a millionth; null where none is so large.
1e20 AS most,
(v -> if(abs(v) < most,
    toDecimal128(toDecimal256(toInt256(round(least(greatest(v, -most), most) * 1000000)), 18) / 1000000, 18), NULL)) AS money,
1.645 AS wide,   -- of a 90 % interval, in standard deviations,
1.15 AS wider,   -- that history does not tell fully; and the errors of services go together as far as
0.2 AS together,
-- Which days of an account tell what. Here and below, what is used more than once is a column of an inner SELECT: the
-- engine analyses an alias anew wherever it stands.
days_of_accounts AS
(
    SELECT
        *,
        toInt32(arrayMax((x, o) -> if(x, o, -1), is_billed, offsets)) AS newest_billed,
        toInt32(arrayMax((b, e, o) -> if(b OR e, o, -1), is_billed, is_estimated, offsets)) AS newest_whole
    FROM
    (
        SELECT
            customer_id, provider, sub_account_id,
            toInt32(today - first_day) AS today_at,
            toInt32(toStartOfMonth(today) - first_day) AS month_at,
            arrayMap(o -> toInt32(o), range(92)) AS offsets,
            groupArrayInsertAt(0., 92)(d.known, toUInt32(d.charge_day - first_day)) AS share,
            arrayMap(x -> x > 0, groupArrayInsertAt(0., 92)(
                if(d.state = 'billed' AND d.charge_day < today, 1., 0.), toUInt32(d.charge_day - first_day)))
                AS is_billed,
            arrayMap(x -> toBool(x >= 0.95), groupArrayInsertAt(0., 92)(
                if(d.state = 'estimated' AND d.charge_day < today, d.known, 0.), toUInt32(d.charge_day - first_day)))
                AS is_estimated
        FROM days_until(
            first = toStartOfMonth(toDate({window:DateTime('UTC')}, 'UTC')) - INTERVAL 2 MONTH,
            window = {window:DateTime('UTC')}) AS d
        GROUP BY customer_id, provider, sub_account_id
    ) AS a
),
basis_of_accounts AS
(
    SELECT
        *,
        arrayMap((b, e) -> b OR (e AND NOT by_bill), is_billed, is_estimated) AS is_basis,
        arrayMap((e, o) -> e AND by_bill AND o >= today_at - 7, is_estimated, offsets) AS is_other
    FROM (SELECT *, arraySum(is_billed) >= 7 AND newest_whole - newest_billed <= 10 AS by_bill FROM days_of_accounts)
),
judged_of_accounts AS
(
    SELECT
        *,
        if(arraySum(is_other) >= 2 AND newest_other > newest_basis, newest_other, newest_basis) AS judged
    FROM
    (
        SELECT
            *,
            toInt32(arrayMax((x, o) -> if(x, o, -1), is_basis, offsets)) AS newest_basis,
            toInt32(arrayMax((x, o) -> if(x, o, -1), is_other, offsets)) AS newest_other
        FROM basis_of_accounts
    )
),
accounts AS
(
    SELECT
        customer_id, provider, sub_account_id, today_at, month_at, offsets, share, newest_whole, by_bill, is_basis,
        is_other, judged,
        toInt32(toStartOfMonth(today) - INTERVAL 1 MONTH - first_day) AS last_month_at,
        toInt32(toStartOfMonth(today) + INTERVAL 1 MONTH - first_day) AS month_end,
        arrayMap(o -> toInt32(toDayOfWeek(first_day + o)), offsets) AS weekdays,
        arrayMap(o -> toInt32(toDayOfMonth(first_day + o)), offsets) AS days_of_month,
        toUInt32(arraySum(is_basis)) AS basis_days,
        arraySum((b, e, o) -> o >= month_at AND o < newest_whole AND NOT (b OR e), is_billed, is_estimated, offsets) AS gaps
    FROM judged_of_accounts
),
series AS
(
    SELECT
        customer_id, provider, sub_account_id, currency, service_name, charge_category,
        groupArrayInsertAt(0., 92)(toFloat64(s.amount), s.offset) AS amounts,
        groupArrayInsertAt(0., 92)(toFloat64(s.provisional), s.offset) AS provisionals,
        sumIf(s.amount, first_day + s.offset >= toStartOfMonth(today)) AS month_amount,
        sumIf(s.counted, first_day + s.offset >= toStartOfMonth(today)) AS month_counted,
        max(s.until) AS until
    FROM
    (
        SELECT
            customer_id, provider, sub_account_id, currency, service_name, charge_category,
            toUInt32(c.charge_day - first_day) AS offset,
            sum(c.billed + c.estimated) AS amount,
            sum(c.provisional) AS provisional,
            countIf(c.cost_kind != 'arriving') AS counted,
            max(c.until) AS until
        FROM costs_until(
            first = toStartOfMonth(toDate({window:DateTime('UTC')}, 'UTC')) - INTERVAL 2 MONTH,
            window = {window:DateTime('UTC')}) AS c
        GROUP BY customer_id, provider, sub_account_id, currency, service_name, charge_category, offset
    ) AS s
    GROUP BY customer_id, provider, sub_account_id, currency, service_name, charge_category
),
-- How much of published days was changed after their fourth day, of days of two weeks ago and before: by the age of the
-- day, and by its week.
changes AS
(
    SELECT
        customer_id, provider, sub_account_id, currency, service_name,
        groupArrayInsertAtIf(0., 92)(c.change, c.position, c.by_age) AS changed_at_age,
        groupArrayInsertAtIf(0., 14)(c.change, c.position, NOT c.by_age) AS changed_in_week
    FROM
    (
        SELECT
            customer_id, provider, sub_account_id, currency, service_name,
            place.1 AS by_age, place.2 AS position,
            toFloat64(sum(ifNull(r.after, 0) - ifNull(r.before, 0))) AS change
        FROM cost_restatements_current AS r
        ARRAY JOIN [
            (true, toUInt32(toDate(r.seen_at, 'UTC') - r.charge_day)),
            (false, toUInt32(intDiv(today - r.charge_day, 7)))] AS place
        WHERE r.charge_day >= first_day AND r.charge_day <= today - 14
            AND r.seen_at < {window:DateTime('UTC')} + INTERVAL 15 MINUTE AND toDate(r.seen_at, 'UTC') - r.charge_day > 3
        GROUP BY customer_id, provider, sub_account_id, currency, service_name, by_age, position
    ) AS c
    GROUP BY customer_id, provider, sub_account_id, currency, service_name
),
-- By how much what is published of a day of some age still grows, as a share, and how far the weeks differ in that.
services AS
(
    SELECT
        customer_id, provider, sub_account_id, currency, service_name,
        s.series_of AS series_of,
        arrayMap((v, b, o) -> if(a.by_bill AND b AND o <= a.today_at - 14, v, 0.), s.of_all, a.is_basis, a.offsets) AS settled,
        arraySum(settled) AS settled_sum,
        arrayReverse(arrayCumSum(arrayReverse(arrayResize(c.changed_at_age, 94, 0.)))) AS cumulated,   -- at that age and after
        arrayResize(arrayReverse(arrayMap(
            v -> if(settled_sum = 0, 0., least(greatest(v / settled_sum, -0.5), 0.5)),
            arraySlice(cumulated, 3, a.today_at))), 92, 0.) AS grows,
        arrayConcat([0.], arrayReverse(arraySlice(settled, 1, a.today_at))) AS settled_at_age,
        arrayMap(w -> arraySum(arraySlice(settled_at_age, 7 * w + 1, 7)), range(14)) AS settled_in_week,
        arrayMap((c, v) -> least(greatest(c / v, -0.5), 0.5),
            arrayFilter((c, v) -> v != 0, arrayResize(c.changed_in_week, 14, 0.), settled_in_week),
            arrayFilter(v -> v != 0, settled_in_week)) AS shares,
        if(empty(shares) OR NOT a.by_bill, 0., sqrt(arrayReduce('varPop', shares))) AS grows_sd,
        a.* EXCEPT (customer_id, provider, sub_account_id)
    FROM
    (
        SELECT
            customer_id, provider, sub_account_id, currency, service_name,
            sumForEach(amounts) AS of_all,
            groupArray((charge_category, amounts, provisionals, month_amount, month_counted, until)) AS series_of
        FROM series
        GROUP BY customer_id, provider, sub_account_id, currency, service_name
    ) AS s
    INNER JOIN accounts AS a USING (customer_id, provider, sub_account_id)
    LEFT JOIN changes AS c USING (customer_id, provider, sub_account_id, currency, service_name)
),
-- Each series' whole days, oldest first: what they cost, which days of the week and which ones they are.
days AS
(
    SELECT
        s.* EXCEPT (series_of, one, settled, settled_sum, cumulated, settled_at_age, settled_in_week, shares),
        s.one.1 AS charge_category,
        s.one.2 AS amounts,
        s.one.3 AS provisionals,
        s.one.4 AS month_amount,
        s.one.5 AS month_counted,
        s.one.6 AS until,
        arrayMap((v, g, p) -> v + g * p, amounts, s.grows, provisionals) AS grown,
        arrayFilter((v, b) -> b AND s.basis_days >= 7, grown, s.is_basis) AS x,
        arrayFilter((k, b) -> b AND s.basis_days >= 7, weekdays, s.is_basis) AS of_week,
        arrayFilter((o, b) -> b AND s.basis_days >= 7, offsets, s.is_basis) AS at,
        toInt32(length(x)) AS n,
        of_seven(x) AS medians
    FROM (SELECT *, one FROM services ARRAY JOIN series_of AS one) AS s
),
-- The share that a day of the week has, where that differs by more than chance.
ratios AS
(
    SELECT
        *,
        spread(medians, n) AS level_then,
        arrayFilter((r, m) -> m != 0, arrayMap((v, m) -> if(m = 0, 0., v / m), x, level_then), level_then) AS ratio,
        arrayFilter((k, m) -> m != 0, of_week, level_then) AS ratio_of_week,
        1.4826 * med(arrayMap(r -> abs(r - 1), ratio)) AS noise
    FROM days
),
weeks AS
(
    SELECT
        * EXCEPT (medians, level_then, ratio, ratio_of_week),
        arrayMap(day -> arrayFilter((r, k) -> k = day, ratio, ratio_of_week), range(1, 8)) AS its_ratios,
        arrayMap((of_days, share) -> if(n >= 14 AND length(of_days) >= 2
                AND abs(share - 1) > greatest(0.03, 2.5 * noise / sqrt(length(of_days))), greatest(0., share), 1.),
            its_ratios, arrayMap(of_days -> med(of_days), its_ratios)) AS factors,
        arrayMap(k -> factors[k], of_week) AS factor,
        arrayMap((v, m, f) -> if(f < 0.05, m, v / f), x, level_then, factor) AS flattened,
        of_seven(flattened) AS medians
    FROM ratios
),
errors AS
(
    SELECT
        * EXCEPT (medians, its_ratios, noise, of_week),
        arrayMap((m, f) -> m * f, spread(medians, n), factor) AS fitted,
        arrayMap((v, e) -> v - e, x, fitted) AS error,
        greatest(if(n < 14, 0.1, 0.01), 1.4826 * med(arrayFilter(r -> r >= 0,
            arrayMap((r, e) -> if(e = 0, -1., abs(r / e)), arraySlice(error, -28), arraySlice(fitted, -28))))) AS sd
    FROM weeks
),
-- What is far off is a lump: a fee, or work that is done now and then. Of a series that has many there is no level.
lumps AS
(
    SELECT
        *,
        arrayMap((r, e) -> if(abs(r) > greatest(6 * sd * abs(e), 0.5 * abs(e)), r, 0.), error, fitted) AS lump,
        arrayFilter(r -> r != 0, arraySlice(lump, -56)) AS recent,
        least(n, 56) AS of_days,
        length(recent) >= greatest(3, 0.25 * of_days) AS is_erratic,
        is_erratic OR length(recent) >= 5 AS is_often,
        multiIf(is_erratic, arrayAvg(arraySlice(x, -56)), is_often, arraySum(recent) / of_days, 0.) AS extra,
        sqrt(multiIf(
            is_erratic, arrayAvg(arrayMap(v -> pow(v - extra, 2), arraySlice(x, -56))),
            is_often, greatest(0., arraySum(arrayMap(r -> r * r, recent)) / of_days - extra * extra),
            0.)) AS extra_sd,
        if(is_erratic, arrayMap(v -> 0., x), flattened) AS flat
    FROM errors
),
levels AS
(
    SELECT
        * EXCEPT (fitted, error, factor, flattened, recent, of_days, is_erratic, x),
        arrayMap(k -> med(arraySlice(flat, n - 6 - 7 * k, 7)), range(toUInt8(least(8, intDiv(n, 7))))) AS level_of_week,
        length(level_of_week) >= 3 AS has_weeks,
        med(arraySlice(flat, n - 8, if(n >= 9, 7, 0))) AS before,
        flat[-2] - before AS step_before,
        flat[-1] - before AS step,
        n >= 9 AND NOT is_often AND charge_category = 'Usage' AND step * step_before > 0
            AND least(abs(step), abs(step_before)) > greatest(4 * sd, 0.1) * abs(before) AS is_shifted,
        level_of_week[1] - level_of_week[2] AS growth,
        level_of_week[2] - level_of_week[3] AS growth_before,
        if(is_shifted, before + if(abs(step) < abs(step_before), step, step_before), level_of_week[1]) AS level,
        if(NOT is_shifted AND has_weeks AND growth * growth_before > 0
                AND abs(growth + growth_before) > 1.34 * sd * abs(level_of_week[1]),
            if(abs(growth_before) < abs(growth), growth_before, growth) / 7, 0.) AS slope
    FROM lumps
),
fees AS
(
    SELECT
        * EXCEPT (before, step, step_before, is_shifted, growth, growth_before),
        arrayMap((a, b) -> abs(a - b - 7 * slope),
            arraySlice(level_of_week, 1, length(level_of_week) - 1), arraySlice(level_of_week, 2)) AS drifts,
        if(has_weeks,
            greatest(0.7 * sqrt(arrayAvg(arrayMap(d -> d * d, drifts))), 1.4826 * med(drifts), 0.045 * abs(level)),
            0.1 * abs(level)) AS drift,
        arraySum((r, o) -> if(o >= month_at, r, 0.), lump, at) AS come,
        arraySum((r, o) -> if(o >= last_month_at AND o < month_at, r, 0.), lump, at) AS last_fee,
        arraySum((r, o) -> if(o < last_month_at, r, 0.), lump, at) AS fee_before,
        arrayFilter((o, r) -> r != 0 AND o >= last_month_at AND o < month_at, at, lump) AS fee_at,
        is_often OR last_fee = 0 OR length(fee_at) > 5 OR (come * last_fee > 0 AND abs(come) >= 0.5 * abs(last_fee))
            OR (at[-1] >= month_at AND at[-1] - month_at > arrayMax(fee_at) - last_month_at + 3) AS is_none,
        if(NOT is_none AND (fee_before * last_fee > 0 OR charge_category = 'Tax'), last_fee, 0.) AS fee,
        multiIf(
            is_none, 0.,
            fee_before * last_fee > 0, greatest(abs(last_fee - fee_before), 0.1 * abs(last_fee)) / 2,
            charge_category = 'Tax', 0.3 * abs(last_fee),
            at[1] <= 3, 0.,
            abs(last_fee) / 2) AS fee_sd
    FROM levels
),
-- What the days of the month cost: those that are known, and those that are expected.
months AS
(
    SELECT
        * EXCEPT (drifts, come, last_fee, fee_before, fee_at, is_none, has_weeks, level_of_week, is_often),
        arrayMap((o, k) -> if(n = 0, 0.,
            factors[k] * (level + slope * (least(greatest(o - at[-1], -3), 31) + 3)) + extra), offsets, weekdays) AS expected,
        arrayMap((v, e, i) -> if(i AND e != 0, v / e, NULL), amounts, expected, is_other) AS estimate_ratio,
        ifNull(med(arrayFilter(r -> isNotNull(r), estimate_ratio)), 0.) AS ratio,
        arrayFilter((e, o, b) -> o >= month_at AND o < month_end AND NOT b, expected, offsets, is_basis) AS rest,
        arrayMap((k) -> factors[k],
            arrayFilter((k, o, b) -> o >= month_at AND o < month_end AND NOT b, weekdays, offsets, is_basis)) AS rest_factors,
        arraySum((v, g, e, o, b, i, p) -> multiIf(
                o < month_at OR o >= month_end, 0.,
                b, g,
                i, multiIf(e = 0, v, ratio > 0, v / ratio, e),
                by_bill, e,
                v + (1 - p) * e),
            amounts, grown, expected, offsets, is_basis, is_other, share) + fee AS forecast,
        wider * sqrt(
            pow(sd * level, 2) * (arraySum(arrayMap(f -> f * f, rest_factors)) + 1.5625 * pow(arraySum(rest_factors), 2) / 7)
            + pow(drift, 2) * pow(length(rest), 3) / 21
            + pow(extra_sd, 2) * (length(rest) + pow(length(rest), 2) / 56)
            + pow(fee_sd, 2)
            + pow(grows_sd * (arraySum((p, o) -> if(o >= month_at, p, 0.), provisionals, offsets) + arraySum(rest)), 2))
            AS forecast_sd
    FROM fees
),
-- The day that is judged against the seven whole ones before it.
judgements AS
(
    SELECT
        * EXCEPT (expected, rest, rest_factors, provisionals, ratio),
        arraySlice(arrayFilter((v, o) -> o < judged, flat, at), -7) AS week_before,
        length(week_before) = 7 AS can_judge,
        factors[weekdays[judged + 1]] AS judged_factor,
        judged_factor * med(week_before) + extra AS usual_apart,
        ifNull(med(arrayFilter((r, o) -> isNotNull(r) AND o < judged, estimate_ratio, offsets)), 0.) AS ratio_before,
        multiIf(
            is_basis[judged + 1], grown[judged + 1],
            usual_apart = 0, amounts[judged + 1],
            ratio_before > 0, amounts[judged + 1] / ratio_before,
            usual_apart) - usual_apart AS off,
        judged >= month_at AS is_this_month,
        arraySum((r, o) -> if(o >= if(is_this_month, last_month_at, 0) AND o < if(is_this_month, month_at, last_month_at)
            AND abs(days_of_month[o + 1] - days_of_month[judged + 1]) <= 3, r, 0.), lump, at) AS fee_near,
        if(off * fee_near > 0, sign(off) * least(abs(off), abs(fee_near)), 0.) AS judged_fee,
        usual_apart + judged_fee AS usual,
        off - judged_fee AS unusual,
        hypot(sd * judged_factor * med(week_before), extra_sd) AS usual_sd
    FROM months
),
outlooks AS
(
    SELECT
        customer_id, provider, sub_account_id, currency, place.1 AS scope, place.2 AS service_name,
        any(j.today_at) AS today_at,
        any(j.newest_whole) AS newest_whole,
        any(j.basis_days) AS basis_days,
        any(j.gaps) AS gaps,
        any(j.judged) AS judged,
        any(j.days) AS days,
        sum(j.month_amount) AS month_amount,
        sum(j.month_counted) > 0 OR days > 0 AS is_known,
        max(j.until) AS until,
        multiIf(
            newest_whole < 0, 'no whole day of its costs is known',
            today_at - newest_whole > 7, format('the newest whole day that is known is {}', toString(first_day + newest_whole)),
            basis_days < 7, format('a forecast takes 7 whole days, of which {} are known', toString(basis_days)),
            gaps > 2, format('{} days of the month before {} are not known', toString(gaps), toString(first_day + newest_whole)),
            abs(forecast) + half >= most, 'the forecast is larger than an amount can be',
            '') AS unforeseeable,
        sum(j.forecast) AS forecast,
        sum(j.fee) AS fees,
        wide * sqrt((1 - together) * sum(pow(j.forecast_sd, 2)) + together * pow(sum(j.forecast_sd), 2)) AS half,
        basis_days >= 7 AND newest_whole >= 0 AND today_at - newest_whole <= 7 AND min(j.can_judge) AS is_judged,
        sum(j.usual) AS usual,
        sum(j.unusual) AS unusual,
        sqrt(sum(pow(j.usual_sd, 2))) AS usual_sd,
        any(j.account_usual) AS account_usual
    FROM
    (
        SELECT
            customer_id, provider, sub_account_id, currency, service_name, today_at, newest_whole, basis_days, gaps, judged,
            arraySum((p, o) -> if(o >= month_at, p, 0.), share, offsets) AS days,
            month_amount, month_counted, until, forecast, forecast_sd, fee, can_judge, usual, unusual, usual_sd,
            sum(usual) OVER (PARTITION BY customer_id, provider, sub_account_id, currency) AS account_usual
        FROM judgements
    ) AS j
    ARRAY JOIN [('account', ''), ('service', toString(j.service_name))] AS place
    GROUP BY customer_id, provider, sub_account_id, currency, scope, service_name
),
-- What differs most on the judged day, from the middle of the days before it.
movers AS
(
    SELECT
        customer_id, provider, sub_account_id, currency, service_name, charge_category, resource_id,
        any(m.judged) AS judged,
        max(m.resource_name) AS resource_name,
        max(m.region_id) AS region_id,
        sumIf(m.amount, m.offset = m.judged) AS amount,
        med(arrayResize(groupArrayIf(m.amount, m.offset != m.judged), toUInt32(any(m.days_compared)), 0.)) AS usual,
        amount - usual AS delta
    FROM
    (
        SELECT
            customer_id, provider, sub_account_id, currency, service_name, charge_category, resource_id,
            toInt32(c.charge_day - first_day) AS offset,
            any(a.judged) AS judged,
            any(length(a.compared_with)) AS days_compared,
            max(c.resource_name) AS resource_name,
            max(c.region_id) AS region_id,
            toFloat64(sum(c.billed + c.estimated)) AS amount
        FROM costs_until(first = toDate({window:DateTime('UTC')}, 'UTC') - 21, window = {window:DateTime('UTC')}) AS c
        INNER JOIN
        (
            SELECT
                customer_id, provider, sub_account_id, judged,
                arraySlice(arrayFilter((o, b, i) -> o < judged AND o >= today_at - 21 AND if(judged > newest_basis, i, b),
                    offsets, is_basis, is_other), -7) AS compared_with
            FROM judged_of_accounts
        ) AS a USING (customer_id, provider, sub_account_id)
        WHERE c.cost_kind != 'arriving' AND (offset = a.judged OR has(a.compared_with, offset))
        GROUP BY customer_id, provider, sub_account_id, currency, service_name, charge_category, resource_id, offset
    ) AS m
    GROUP BY customer_id, provider, sub_account_id, currency, service_name, charge_category, resource_id
    HAVING delta != 0
    ORDER BY abs(delta) DESC
    LIMIT 5 BY customer_id, provider, sub_account_id, currency, service_name, delta > 0
),
resource_changes_then AS
(
    SELECT
        customer_id, provider, resource_id,
        groupArray((
            toInt32(toDate(r.window_start, 'UTC') - first_day),
            concat(
                multiIf(
                    r.change = 'resized', format('resized from {} to {}', r.before, r.after),
                    r.change = 'status', format('{} after {}', r.after, r.before),
                    r.change),
                ' on ', toString(toDate(r.window_start, 'UTC'))))) AS changed
    FROM resource_changes_current AS r
    WHERE r.window_start >= toDateTime(today - 11, 'UTC') AND r.window_start <= {window:DateTime('UTC')}
        AND r.change IN ('created', 'deleted', 'resized', 'status')
    GROUP BY customer_id, provider, resource_id
),
price_changes AS
(
    SELECT
        provider, currency,
        groupArray((
            toInt32(toDate(p.valid_from, 'UTC') - first_day), p.region, toFloat64(p.hourly) / toFloat64(p.hourly_before),
            format('list price of {} from {} to {} {} an hour since {}', p.description, toString(p.hourly_before),
                toString(p.hourly), p.currency, toString(toDate(p.valid_from, 'UTC'))))) AS repriced
    FROM
    (
        SELECT
            provider, region, currency, description, valid_from, hourly,
            lagInFrame(hourly) OVER (PARTITION BY provider, region, key, currency ORDER BY valid_from) AS hourly_before
        FROM (SELECT * FROM prices FINAL)
    ) AS p
    WHERE hourly_before > 0 AND hourly != hourly_before
        AND p.valid_from >= toDateTime(today - 11, 'UTC') AND p.valid_from <= {window:DateTime('UTC')}
    GROUP BY provider, currency
),
-- The network traffic of each resource by day, and of all together under an empty id.
traffic AS
(
    SELECT customer_id, provider, resource_id, groupArray((t.offset, t.traffic)) AS traffic_of
    FROM
    (
        SELECT
            customer_id, provider, each AS resource_id,
            toInt32(toDate(d.window_start, 'UTC') - first_day) AS offset,
            sum(d.total / d.n * d.expected) AS traffic
        FROM performance_daily AS d
        ARRAY JOIN [toString(d.resource_id), ''] AS each
        WHERE d.window_start >= toDateTime(today - 15, 'UTC') AND d.window_start < toDateTime(today, 'UTC')
            AND d.metric_name IN ('network_in', 'network_out', 'network_total') AND d.n > 0
            AND (d.window_start, d.batch) IN
            (
                SELECT window_start, batch FROM published_batches
                WHERE dataset = 'performance_daily' AND window_start >= toDateTime(today - 15, 'UTC')
                    AND window_start < toDateTime(today, 'UTC')
            )
        GROUP BY customer_id, provider, resource_id, offset
    ) AS t
    GROUP BY customer_id, provider, resource_id
),
causes AS
(
    SELECT
        customer_id, provider, sub_account_id, currency, place.1 AS scope, place.2 AS service_name,
        groupArray((e.delta, e.words)) AS found
    FROM
    (
        SELECT
            customer_id, provider, sub_account_id, currency, service_name,
            m.delta AS delta,
            arraySort(x -> x.1, arrayFilter(x -> x.1 BETWEEN m.judged - 3 AND m.judged + 1, r.changed)) AS changed,
            arraySort(x -> abs(x.3 - m.amount / m.usual), arrayFilter(
                x -> x.1 BETWEEN m.judged - 3 AND m.judged + 1 AND x.2 IN ('', m.region_id) AND m.usual != 0
                    AND abs(m.amount / m.usual / x.3 - 1) < 0.05,
                p.repriced)) AS repriced,
            arrayMap(x -> x.2, arrayFilter(x -> x.1 < m.judged AND x.1 >= m.judged - 7, t.traffic_of)) AS traffic_before,
            arraySum(x -> if(x.1 = m.judged, x.2, 0.), t.traffic_of)
                / if(length(traffic_before) >= 3, med(traffic_before), 0.) AS traffic_ratio,
            arrayFilter(x -> x != '', arrayConcat(
                arrayMap(x -> x.2, changed),
                if(empty(repriced), [], [repriced[1].4]),
                if(isFinite(traffic_ratio) AND m.delta * (traffic_ratio - 1) > 0 AND abs(traffic_ratio - 1) > 0.5,
                    [format('network traffic {} times the usual', toString(round(traffic_ratio, 1)))], []),
                if(m.usual = 0 AND empty(changed), ['not charged in the days before'], []),
                if(m.amount = 0 AND empty(changed), ['not charged any more'], []))) AS known,
            concat(
                multiIf(m.resource_name != '', m.resource_name, m.resource_id != '', m.resource_id, 'no resource'),
                ' (', if(m.service_name = '', '', concat(m.service_name, ', ')), lower(m.charge_category), ') ',
                if(m.delta > 0, '+', ''), toString(round(m.delta, if(abs(m.delta) < 0.1, 6, 2))), ' ', m.currency,
                if(empty(known), '', concat(': ', arrayStringConcat(known, ' and ')))) AS words
        FROM movers AS m
        LEFT JOIN resource_changes_then AS r USING (customer_id, provider, resource_id)
        LEFT JOIN price_changes AS p USING (provider, currency)
        LEFT JOIN traffic AS t USING (customer_id, provider, resource_id)
    ) AS e
    ARRAY JOIN [('account', ''), ('service', toString(e.service_name))] AS place
    GROUP BY customer_id, provider, sub_account_id, currency, scope, service_name
)
SELECT
    customer_id,
    provider,
    sub_account_id,
    currency,
    scope,   -- account, or service: one of its services
    service_name,
    days,
    if(o.is_known, o.month_amount, NULL) AS month_to_date,   -- as in cost summary; null where no day of it is known
    if(o.unforeseeable = '', money(o.forecast), NULL) AS forecast,   -- of the whole month
    if(o.unforeseeable = '', money(o.forecast - o.half), NULL) AS low,   -- the lower end of the 90 % interval
    if(o.unforeseeable = '', money(o.forecast + o.half), NULL) AS high,   -- the upper end of the 90 % interval
    if(o.unforeseeable = '', money(o.fees), NULL) AS fees,   -- the part of the forecast that is fees yet to come
    if(o.is_judged, toNullable(first_day + o.judged), NULL) AS day,   -- the newest whole day that can be compared
    if(o.is_judged, money(o.usual), NULL) AS usual_day,   -- what such a day usually costs
    if(o.is_judged, money(o.unusual), NULL) AS unusual_by,   -- what the day cost beyond that
    if(o.is_judged, abs(o.unusual) > greatest(4 * o.usual_sd, 0.1 * abs(o.usual), 0.01 * abs(o.account_usual)), NULL)
        AS is_unusual,
    if(ifNull(is_unusual, false), arrayStringConcat(arrayMap(x -> x.2, arraySlice(arraySort(x -> (-abs(x.1), x.2),
        arrayFilter(x -> x.1 * o.unusual > 0 AND abs(x.1) >= 0.02 * abs(o.unusual), c.found)), 1, 5)), '; '), '')
        AS causes,   -- what differs most on an unusual day, and what is known of it, the dearest first
    arrayStringConcat(arrayFilter(x -> x != '', [
        o.unforeseeable,
        if(o.is_known, '', 'no day of the month is known'),
        if(o.unforeseeable = '' AND NOT o.is_judged, 'there are not 7 whole days before the newest one', '')]), '; ')
        AS reason,   -- why something is null
    o.until AS as_of
FROM outlooks AS o
LEFT JOIN causes AS c USING (customer_id, provider, sub_account_id, currency, scope, service_name)
-- These passes over the query take as long as all else, and find nothing in it to be simplified.
SETTINGS optimize_aggregators_of_group_by_keys = 0, optimize_and_compare_chain = 0, optimize_group_by_function_keys = 0,
    optimize_syntax_fuse_functions = 0
