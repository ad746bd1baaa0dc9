-- The rollups under the cost readers. Days that are over are read from them; of the window's own day, which is still
-- collected, only where nothing was published since the rollup, and nothing that is newer than the window.

-- What each thing has cost on each day from `first` to `last`, as far as it was published of windows to `until`. One row by
-- account, currency, service, resource, region, type, category and kind of cost. Kinds are `billed`, `estimated` where no
-- settled bill has the account's day, and `arriving`: what the bill says so far of a day that has not settled, which is
-- no part of `amount`.
--
-- A line's tags are its own, else the inventory's; a billed line without any takes those that the estimates of the day
-- have of its resource. What a bill does not tell (`effective`, `listed`, `contracted`) is null, also for a sum with one
-- such part.
CREATE VIEW costs_of_days AS
WITH
lines AS
(
    SELECT
        *,
        toDate(window_start, 'UTC') AS charge_day,
        if(cost_kind = 'billed', is_settled, true) AS is_whole,
        multiIf(cost_kind = 'estimated', 'estimated', is_settled, 'billed', 'arriving') AS kind
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
        charge_category, charge_class, kind, charge_day,
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
        charge_category, charge_class, kind, charge_day, own_tags
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
    last_end AS until
FROM told
WHERE cost_type != 'reading' AND NOT (kind = 'estimated' AND is_read);

-- What is known of each account's day. `known` is 1 where a settled bill has it, else the share of its 96 windows that
-- have an estimate. A day that was read and cost nothing is known; one of which a bill is still arriving is not.
CREATE VIEW known_days AS
SELECT
    customer_id,
    provider,
    sub_account_id,
    toDate(window_start, 'UTC') AS charge_day,
    countIf(l.cost_type = 'reading' AND l.is_settled) > 0 AS is_billed,
    countIf(l.cost_type = 'reading' AND NOT l.is_settled) > 0 AND NOT is_billed AS is_arriving,
    uniqExactIf(l.window_start, l.cost_kind = 'estimated') AS windows,
    if(is_billed, 1, windows / 96) AS known,
    multiIf(is_billed, 'billed', windows > 0, 'estimated', is_arriving, 'arriving', 'corrected') AS state,
    is_billed AND countIf(l.cost_kind = 'billed' AND NOT l.is_final) = 0 AS is_final
FROM cost_metrics AS l
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
GROUP BY customer_id, provider, sub_account_id, charge_day;

CREATE TABLE cost_daily
(
    window_start     DateTime('UTC')           CODEC(Delta(4), ZSTD(1)),   -- the day
    batch            UInt64                    CODEC(Delta(8), ZSTD(1)),
    customer_id      LowCardinality(String)    CODEC(ZSTD(1)),
    provider         LowCardinality(String)    CODEC(ZSTD(1)),
    sub_account_id   LowCardinality(String)    CODEC(ZSTD(1)),
    currency         LowCardinality(String)    CODEC(ZSTD(1)),
    service_name     LowCardinality(String)    CODEC(ZSTD(1)),
    resource_id      String                    CODEC(ZSTD(1)),
    resource_name    String                    CODEC(ZSTD(1)),
    region_id        LowCardinality(String)    CODEC(ZSTD(1)),
    cost_type        LowCardinality(String)    CODEC(ZSTD(1)),
    charge_category  LowCardinality(String)    CODEC(ZSTD(1)),
    charge_class     LowCardinality(String)    CODEC(ZSTD(1)),
    cost_kind        LowCardinality(String)    CODEC(ZSTD(1)),   -- billed, estimated, or arriving
    tags             String                    CODEC(ZSTD(1)),   -- a JSON object
    tags_from        LowCardinality(String)    CODEC(ZSTD(1)),   -- line: the bill's own; inventory
    amount           Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),   -- null for what is arriving
    billed           Decimal(38, 18)           CODEC(ZSTD(1)),
    estimated        Decimal(38, 18)           CODEC(ZSTD(1)),
    arriving         Decimal(38, 18)           CODEC(ZSTD(1)),   -- what the bill says so far, no part of amount
    effective        Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),   -- commitments spread over what they cover; null: not told
    listed           Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    contracted       Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    provisional      Decimal(38, 18)           CODEC(ZSTD(1)),   -- of billed: the cloud may still restate it
    matched          Bool                      CODEC(ZSTD(1)),
    until            DateTime('UTC')           CODEC(Delta(4), ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(window_start)
ORDER BY (window_start, customer_id, provider, sub_account_id, service_name, resource_id)
TTL window_start + INTERVAL 800 DAY
SETTINGS ttl_only_drop_parts = 1, enable_block_number_column = 1, enable_block_offset_column = 1,
    non_replicated_deduplication_window = 1000;

CREATE TABLE cost_days
(
    window_start    DateTime('UTC')         CODEC(Delta(4), ZSTD(1)),   -- the day
    batch           UInt64                  CODEC(Delta(8), ZSTD(1)),
    customer_id     LowCardinality(String)  CODEC(ZSTD(1)),
    provider        LowCardinality(String)  CODEC(ZSTD(1)),
    sub_account_id  LowCardinality(String)  CODEC(ZSTD(1)),
    state           LowCardinality(String)  CODEC(ZSTD(1)),   -- billed, estimated, arriving; corrected: only by other months' bills
    known           Float64                 CODEC(ZSTD(1)),   -- 1 where billed, else the share of its windows with an estimate
    windows         UInt32                  CODEC(ZSTD(1)),   -- with an estimate
    is_arriving     Bool                    CODEC(ZSTD(1)),   -- a bill has begun to tell it
    is_final        Bool                    CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(window_start)
ORDER BY (window_start, customer_id, provider, sub_account_id)
TTL window_start + INTERVAL 800 DAY
SETTINGS ttl_only_drop_parts = 1, enable_block_number_column = 1, enable_block_offset_column = 1,
    non_replicated_deduplication_window = 1000;

CREATE VIEW cost_daily_current AS
SELECT t.* EXCEPT (batch)
FROM cost_daily AS t
LEFT SEMI JOIN (SELECT window_start, batch FROM published_batches WHERE dataset = 'cost_daily') AS b
    USING (window_start, batch);

CREATE VIEW cost_days_current AS
SELECT t.* EXCEPT (batch)
FROM cost_days AS t
LEFT SEMI JOIN (SELECT window_start, batch FROM published_batches WHERE dataset = 'cost_days') AS b
    USING (window_start, batch);

-- The rollups of the day of `window` that say what was known when that window was: nothing was published since they were
-- computed, and nothing of later windows.
CREATE VIEW cost_rollups_of_today AS
SELECT dataset
FROM
(
    SELECT dataset, max(batch) AS computed
    FROM published_batches
    WHERE dataset IN ('cost_daily', 'cost_days') AND window_start = toStartOfDay({window:DateTime('UTC')})
    GROUP BY dataset
) AS rollups
CROSS JOIN
(
    SELECT
        toUnixTimestamp64Nano(toDateTime64(max(published_at), 9, 'UTC')) AS published,
        maxIf(window_start, dataset = 'cost') AS newest
    FROM metric_batches
    WHERE dataset IN ('cost', 'cost_billed') AND status IN ('ok', 'partial')
        AND window_start >= toStartOfDay({window:DateTime('UTC')})
        AND window_start < toStartOfDay({window:DateTime('UTC')}) + INTERVAL 1 DAY
) AS collected
WHERE computed > published AND newest <= {window:DateTime('UTC')};

-- The costs of the days from `first` to that of `window`, of that day as far as the window: rows of cost_daily.
CREATE VIEW costs_until AS
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
    contracted, provisional, matched, until, charge_day
FROM costs_of_days(
    first = toDate({window:DateTime('UTC')}, 'UTC')
        + (SELECT countIf(dataset = 'cost_daily') FROM cost_rollups_of_today(window = {window:DateTime('UTC')})),
    last = toDate({window:DateTime('UTC')}, 'UTC'),
    until = {window:DateTime('UTC')});

-- What is known of the accounts' days from `first` to that of `window`, of that day as far as the window.
CREATE VIEW days_until AS
SELECT * EXCEPT (window_start, batch), toDate(window_start, 'UTC') AS charge_day
FROM cost_days
WHERE window_start >= toDateTime({first:Date}, 'UTC')
    AND window_start < toStartOfDay({window:DateTime('UTC')})
        + toIntervalDay((SELECT countIf(dataset = 'cost_days') FROM cost_rollups_of_today(window = {window:DateTime('UTC')})))
    AND (window_start, batch) IN
    (
        SELECT window_start, batch FROM published_batches
        WHERE dataset = 'cost_days' AND window_start >= toDateTime({first:Date}, 'UTC')
            AND window_start <= {window:DateTime('UTC')}
    )
UNION ALL
SELECT customer_id, provider, sub_account_id, state, known, windows, is_arriving, is_final, charge_day
FROM known_days(
    first = toDate({window:DateTime('UTC')}, 'UTC')
        + (SELECT countIf(dataset = 'cost_days') FROM cost_rollups_of_today(window = {window:DateTime('UTC')})),
    last = toDate({window:DateTime('UTC')}, 'UTC'),
    until = {window:DateTime('UTC')});

DROP VIEW IF EXISTS recent_costs;

-- The costs of the 30 days to yesterday, of the month to date and of today so far, with the periods that each is of.
CREATE VIEW recent_costs AS
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
