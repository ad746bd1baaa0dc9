-- What moving data costs is told apart from what else a service or a resource costs, as far as a bill tells it. Days that
-- were rolled up before are not computed again for it.
ALTER TABLE cost_daily ADD COLUMN IF NOT EXISTS used LowCardinality(String) CODEC(ZSTD(1));

ALTER TABLE allocation_rules ADD COLUMN IF NOT EXISTS shared_usage Array(String) CODEC(ZSTD(1));

CREATE OR REPLACE VIEW allocation_rules_current AS
SELECT
    customer_id,
    argMax(r.allocate_by, r.recorded_at) AS allocate_by,
    argMax(r.shared_services, r.recorded_at) AS shared_services,
    argMax(r.shared_categories, r.recorded_at) AS shared_categories,
    argMax(r.shared_usage, r.recorded_at) AS shared_usage,
    argMax(r.shared_by, r.recorded_at) AS shared_by,
    argMax(r.shared_dimension, r.recorded_at) AS shared_dimension,
    argMax(r.shared_values, r.recorded_at) AS shared_values,
    argMax(r.shared_parts, r.recorded_at) AS shared_parts
FROM allocation_rules AS r
GROUP BY customer_id;

-- As before, with `used`: `data_transfer`, or empty. Bills name it in the description of a line, and two services are
-- nothing else.
CREATE OR REPLACE VIEW costs_of_days AS
WITH
lines AS
(
    SELECT
        *,
        toDate(window_start, 'UTC') AS charge_day,
        if(cost_kind = 'billed', is_settled, true) AS is_whole,
        multiIf(cost_kind = 'estimated', 'estimated', is_settled, 'billed', 'arriving') AS kind,
        if(multiSearchAnyCaseInsensitive(charge_description, ['data transfer', 'egress', 'bandwidth'])
            OR service_name IN ('Bandwidth', 'AWS Data Transfer'), 'data_transfer', '') AS used
    FROM cost_metrics
    WHERE window_start >= toDateTime({first:Date}, 'UTC') AND window_start < toDateTime({last:Date} + 1, 'UTC')
        AND window_start <= {until:DateTime('UTC')} AND cost_type != 'left_out'
        AND (customer_id, provider, window_start, batch, cost_kind) IN
        (
            SELECT
                customer_id, provider, window_start, batch,
                toLowCardinality(if(dataset = 'cost_billed', 'billed', 'estimated')) AS cost_kind
            FROM published_batches
            WHERE dataset IN ('cost', 'cost_billed')
                AND window_start >= toDateTime({first:Date}, 'UTC') AND window_start < toDateTime({last:Date} + 1, 'UTC')
                AND window_start <= {until:DateTime('UTC')}
        )
),
added_up AS
(
    SELECT
        customer_id, provider, sub_account_id, currency, service_name, resource_id, region_id, cost_type,
        charge_category, charge_class, kind, charge_day, used,
        if(cost_kind = 'billed', l.tags, '') AS own_tags,
        argMax(l.tags, l.window_start) AS last_tags,
        argMax(l.tags_from, (l.tags != '', l.window_start)) AS tagged_by,
        max(l.resource_name) AS named,
        max(l.matched) AS is_known,
        sum(l.amount) AS total,
        if(countIf(isNull(l.effective_cost)) > 0, NULL, sum(l.effective_cost)) AS effective_total,
        if(countIf(isNull(l.list_cost)) > 0, NULL, sum(l.list_cost)) AS list_total,
        if(countIf(isNull(l.contracted_cost)) > 0, NULL, sum(l.contracted_cost)) AS contracted_total,
        sumIf(l.amount, NOT l.is_final) AS not_final,
        max(l.is_whole) AS whole,
        max(if(l.cost_kind = 'billed', l.window_start + INTERVAL 1 DAY, l.charge_period_end)) AS last_end
    FROM lines AS l
    GROUP BY customer_id, provider, sub_account_id, currency, service_name, resource_id, region_id, cost_type,
        charge_category, charge_class, kind, charge_day, used, own_tags
),
told AS
(
    SELECT
        *,
        max(cost_type = 'reading' AND whole) OVER
            (PARTITION BY customer_id, provider, sub_account_id, charge_day) AS is_read,
        max(if(kind = 'estimated', last_tags, '')) OVER
            (PARTITION BY customer_id, provider, sub_account_id, resource_id, charge_day) AS estimated_tags
    FROM added_up
)
SELECT
    customer_id,
    provider,
    sub_account_id,
    currency,
    service_name,
    resource_id,
    named AS resource_name,
    region_id,
    cost_type,
    charge_category,
    charge_class,
    kind AS cost_kind,
    charge_day,
    multiIf(last_tags != '', last_tags, resource_id != '', estimated_tags, '') AS tags,
    multiIf(last_tags != '', tagged_by, tags != '', 'inventory', '') AS tags_from,
    if(kind = 'arriving', NULL, total) AS amount,
    if(kind = 'billed', total, 0) AS billed,
    if(kind = 'estimated', total, 0) AS estimated,
    if(kind = 'arriving', total, 0) AS arriving,
    multiIf(kind = 'arriving', NULL, kind = 'estimated', total, effective_total) AS effective,
    if(kind = 'arriving', NULL, list_total) AS listed,
    if(kind = 'arriving', NULL, contracted_total) AS contracted,
    if(kind = 'billed', not_final, 0) AS provisional,
    is_known AS matched,
    last_end AS until,
    used
FROM told
WHERE cost_type != 'reading' AND NOT (kind = 'estimated' AND is_read);

-- A view keeps the columns that its table had when it was made.
CREATE OR REPLACE VIEW cost_daily_current AS
SELECT t.* EXCEPT (batch)
FROM cost_daily AS t
LEFT SEMI JOIN (SELECT window_start, batch FROM published_batches WHERE dataset = 'cost_daily') AS b
    USING (window_start, batch);

CREATE OR REPLACE VIEW costs_until AS
SELECT * EXCEPT (window_start, batch), toDate(window_start, 'UTC') AS charge_day
FROM cost_daily
WHERE window_start >= toDateTime({first:Date}, 'UTC')
    AND window_start < toStartOfDay({window:DateTime('UTC')})
        + toIntervalDay((SELECT countIf(dataset = 'cost_daily') FROM cost_rollups_of_today(window = {window:DateTime('UTC')})))
    AND (window_start, batch) IN
    (
        SELECT window_start, batch FROM published_batches
        WHERE dataset = 'cost_daily' AND window_start >= toDateTime({first:Date}, 'UTC')
            AND window_start <= {window:DateTime('UTC')}
    )
UNION ALL
SELECT
    customer_id, provider, sub_account_id, currency, service_name, resource_id, resource_name, region_id, cost_type,
    charge_category, charge_class, cost_kind, tags, tags_from, amount, billed, estimated, arriving, effective, listed,
    contracted, provisional, matched, until, used, charge_day
FROM costs_of_days(
    first = toDate({window:DateTime('UTC')}, 'UTC')
        + (SELECT countIf(dataset = 'cost_daily') FROM cost_rollups_of_today(window = {window:DateTime('UTC')})),
    last = toDate({window:DateTime('UTC')}, 'UTC'),
    until = {window:DateTime('UTC')});

CREATE OR REPLACE VIEW recent_costs AS
WITH toDate({window:DateTime('UTC')}, 'UTC') AS today
SELECT
    c.*,
    arrayFilter((name, is_in) -> is_in,
        ['today', 'yesterday', 'last_30_days', 'month_to_date'],
        [c.charge_day = today, c.charge_day = today - 1, c.charge_day BETWEEN today - 30 AND today - 1,
         c.charge_day >= toStartOfMonth(today)]) AS periods
FROM costs_until(
    first = least(toStartOfMonth(toDate({window:DateTime('UTC')}, 'UTC')), toDate({window:DateTime('UTC')}, 'UTC') - 30),
    window = {window:DateTime('UTC')}) AS c;
