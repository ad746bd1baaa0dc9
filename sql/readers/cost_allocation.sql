-- What each provider, account, region, service and tag has cost, yesterday, in the 30 days to yesterday and in the month
-- to date. Tags are those of the keys that the customers file names under allocate_by.
--
-- In each dimension the amounts add up to those of cost summary, and the shares to 1. Of each the dearest thousand values
-- are named, and the rest is one row, `(others)`.
--
-- value: `(untagged)` is what resources cost that lack the tag; `(no resource)` what is charged for none by name; `(empty)`
--   a tag without a value. A line has its own tags, else the inventory's of its day, else the last that are known of its
--   resource: it may be gone.
-- shared: what is added to the amount, or taken from it, where the costs that all share are spread by the rule under
--   shared_costs in the customers file; it adds up to 0. Null where there is no rule, and where the rule gives fixed
--   shares of another dimension.
-- amount, effective, arriving: as in cost summary.
--
-- shows: window_start period dimension value amount share effective shared currency resources billed estimated arriving
--   as_of
-- ordered by: period, currency, dimension, amount DESC
-- computed from: cost/daily
-- empty without: cost_metrics cost_daily cost_days of any time
-- reads: cost/daily since day - 30 days, cost since day, cost_billed since day, allocation_rules
-- kept: 7 days
-- key: customer_id dimension value currency period
-- types: value String
WITH
-- The days of a period added up, before each line is put into its dimensions: a tenth of the rows.
added AS
(
    SELECT
        customer_id, provider, sub_account_id, currency, region_id, service_name, resource_id, charge_category, used, tags,
        matched, c.periods AS periods,
        max((c.charge_day, abs(c.billed + c.estimated))) AS newest,
        countIf(c.cost_kind != 'arriving') AS counted,
        countIf(c.cost_kind != 'arriving' AND isNull(c.effective)) AS not_told,
        countIf(c.cost_kind != 'arriving' AND isNull(c.listed)) AS not_listed,
        sum(c.billed) AS billed,
        sum(c.estimated) AS estimated,
        sum(c.arriving) AS arriving,
        sum(ifNull(c.effective, 0)) AS effective,
        sum(ifNull(c.listed, 0)) AS listed,
        max(c.until) AS until
    FROM recent_costs(window = {window:DateTime('UTC')}) AS c
    GROUP BY customer_id, provider, sub_account_id, currency, region_id, service_name, resource_id, charge_category,
        used, tags, matched, periods
),
lines AS
(
    SELECT
        a.*,
        -- A resource that was listed and has no tags has none. Of several tags on a day, those of the dearest line count.
        if(tags = '' AND resource_id != '' AND NOT matched,
            argMaxIf(tags, (newest, tags), tags != '') OVER (PARTITION BY customer_id, provider, sub_account_id, resource_id),
            tags) AS known_tags,
        r.* EXCEPT (customer_id),
        has(r.shared_services, a.service_name) OR has(r.shared_categories, a.charge_category)
            OR has(r.shared_usage, a.used) AS is_shared
    FROM added AS a
    LEFT JOIN allocation_rules_current AS r USING (customer_id)
),
-- One row by value. A line is in a row of each dimension, and what all share also in those of the values that bear fixed
-- shares of it, which may cost nothing else.
added_up AS
(
    SELECT
        customer_id, l.currency AS currency, period, place.1 AS dimension, place.2 AS value,
        -- Fixed shares are of one dimension; in the others nothing is spread.
        any(if(l.shared_by = 'fixed' AND place.1 != l.shared_dimension, '', l.shared_by)) AS shared_by,
        any(l.shared_parts[indexOf(l.shared_values, place.2)]) AS fixed_part,
        sum(l.counted) AS counted,
        sumIf(l.not_told, place.3) AS not_told,
        sumIf(l.not_listed, place.3) AS not_listed,
        sumIf(l.billed, place.3) AS billed,
        sumIf(l.estimated, place.3) AS estimated,
        sumIf(l.arriving, place.3) AS arriving,
        sumIf(l.effective, place.3) AS effective,
        sumIf(l.listed, place.3) AS listed,
        sumIf(l.billed + l.estimated, place.3 AND l.is_shared) AS in_common,
        uniqExactStateIf(l.resource_id, place.3 AND l.resource_id != '') AS resources,
        countIf(place.3) AS own_lines,
        maxIf(l.until, place.3) AS own_until
    FROM lines AS l
    ARRAY JOIN arrayIntersect(l.periods, ['yesterday', 'last_30_days', 'month_to_date']) AS period
    ARRAY JOIN arrayConcat(
        [('provider', toString(l.provider), true),
         ('account', if(l.sub_account_id = '', '(no account)', toString(l.sub_account_id)), true),
         ('region', if(l.region_id = '', '(no region)', toString(l.region_id)), true),
         ('service', if(l.service_name = '', '(no service)', toString(l.service_name)), true)],
        arrayMap(key -> ('tag:' || key,
            multiIf(NOT JSONHas(l.known_tags, key), if(l.resource_id = '', '(no resource)', '(untagged)'),
                JSONExtractRaw(l.known_tags, key) IN ('""', 'null'), '(empty)',
                JSONType(l.known_tags, key) = 'String', JSONExtractString(l.known_tags, key),
                JSONExtractRaw(l.known_tags, key)), true), l.allocate_by),
        if(l.is_shared AND l.counted > 0, arrayMap(v -> (toString(l.shared_dimension), v, false), l.shared_values), []))
        AS place
    GROUP BY customer_id, currency, period, dimension, value
),
ranked AS
(
    SELECT
        *,
        value IN ('(untagged)', '(no resource)', '(empty)', '(no account)', '(no region)', '(no service)') AS is_none,
        row_number() OVER
            (PARTITION BY customer_id, currency, period, dimension ORDER BY is_none DESC, billed + estimated DESC, value)
            AS place,
        if(own_lines > 0, own_until, max(own_until) OVER (PARTITION BY customer_id, currency, period, dimension)) AS until,
        billed + estimated - in_common AS own,
        multiIf(shared_by = 'fixed', fixed_part, own <= 0, 0, shared_by = 'proportional', toDecimal128(own, 18), shared_by = 'even' AND NOT is_none, 1, 0)
            AS weight
    FROM added_up
),
weighed AS
(
    SELECT
        *,
        sum(in_common) OVER each AS all_in_common,
        sum(weight) OVER each AS all_weights,
        -- Cut after the last digit.
        if(all_weights = 0, in_common,
            toDecimal128(divideDecimal(
                multiplyDecimal(toDecimal256(all_in_common, 18), toDecimal256(weight, 18), 36),
                toDecimal256(if(all_weights = 0, 1, all_weights), 18), 18), 18)) AS part
    FROM ranked
    WINDOW each AS (PARTITION BY customer_id, currency, period, dimension)
),
-- What the cuts leave is borne by the value that bears most.
spread AS
(
    SELECT
        *,
        part - in_common
            + if(row_number() OVER (PARTITION BY customer_id, currency, period, dimension ORDER BY weight DESC, value) = 1,
                all_in_common - sum(part) OVER (PARTITION BY customer_id, currency, period, dimension), 0) AS shared
    FROM weighed
),
named AS
(
    SELECT
        customer_id, currency, period, dimension,
        if(s.place <= 1000, s.value, '(others)') AS value,
        any(s.shared_by) AS shared_by,
        sum(s.counted) AS counted,
        sum(s.not_told) AS not_told,
        sum(s.not_listed) AS not_listed,
        sum(s.billed) AS billed,
        sum(s.estimated) AS estimated,
        sum(s.arriving) AS arriving,
        sum(s.effective) AS effective,
        sum(s.listed) AS listed,
        sum(s.shared) AS shared,
        uniqExactMerge(s.resources) AS resources,
        max(s.until) AS until
    FROM spread AS s
    GROUP BY customer_id, currency, period, dimension, value
)
SELECT
    customer_id,
    currency,
    period,
    dimension,   -- provider, account, region, service, or `tag:` and a key
    value,   -- of the dimension
    n.billed AS billed,
    n.estimated AS estimated,
    if(counted = 0, NULL, n.billed + n.estimated) AS amount,
    if(counted = 0 OR not_told > 0, NULL, n.effective) AS effective,
    if(counted = 0 OR not_listed > 0, NULL, n.listed) AS listed,
    n.arriving AS arriving,
    if(sum(n.billed + n.estimated) OVER each = 0 OR counted = 0, NULL,
        toFloat64(n.billed + n.estimated) / toFloat64(sum(n.billed + n.estimated) OVER each)) AS share,   -- of the amount of all values
    if(shared_by = '', NULL, n.shared) AS shared,   -- to be added to the amount, by the customer's rule for costs that all share
    resources,
    until AS as_of
FROM named AS n
WINDOW each AS (PARTITION BY customer_id, currency, period, dimension)
