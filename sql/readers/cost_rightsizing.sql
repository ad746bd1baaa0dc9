-- Machines and databases of a type, and whether the next smaller type of its family would do, by the CPU and memory of
-- the 14 whole days before the window's day. Figures are in percent of the type; `_then` ones of the smaller type.
--
-- verdict: smaller, keep, no_smaller_type or unknown, and `reason` says why. Only `smaller` suggests a type. It takes
--   CPU: at least 90 % of the points of 14 days, a p95 of at most 70 % in the smaller type;
--   memory, where as much of it is known: a p95 of at most 80 % in the smaller type, and never more than 95 %;
--   a machine that runs and was in this type all the time; and list prices of both types, the smaller one's lower.
-- basis: what is known. CPU only: nothing says that the memory would suffice.
-- risk: high where the highest 5 minutes of CPU would not fit; else low where memory is known, and medium where not. What
--   a type carries of network and disk traffic is not judged: no price list tells a rate that is guaranteed. See
--   `performance by_resource`.
-- memory: of a database that tells only what is free, the rest of what its type has.
-- amounts: list prices of 730 hours, with all that is priced of the resource, such as a database's storage. What a
--   commitment or a discount covers saves less.
--
-- shows: window_start provider resource_type resource_name type suggested_type saving currency verdict risk basis
--   cpu_p95 cpu_highest memory_p95 reason region account_id as_of complete resource_id
-- ordered by: currency DESC, saving DESC, monthly_amount DESC
-- if empty: no machine or database of a known type is in the newest inventory
-- computed from: cost/daily performance/daily
-- empty without: resource_metrics of any time
-- reads: resource last 1 day by as_of, resource since day - 14 days, performance/daily since day - 14 days to day,
--   machine_sizes
-- kept: 90 days
-- key: customer_id provider resource_type resource_id
-- types: resource_id String, resource_name String, reason String
WITH
14 AS span,   -- days
toStartOfDay({window:DateTime('UTC')}) AS today,
today - toIntervalDay(span) AS first_day,
0.9 AS known_enough,
70 AS most_cpu_p95,
80 AS most_memory_p95,
95 AS most_memory,
-- What a resource's type is known by, whatever its kind.
['instance_type', 'machine_type', 'class', 'plan', 'sku', 'units'] AS type_facts,
inventory AS
(
    SELECT *, arrayMap(name -> JSONExtractRaw(metadata, name), type_facts) AS of_type
    FROM newest_inventories(window = {window:DateTime('UTC')})
    WHERE resource_type IN ('compute', 'database') AND status != 'terminated'
),
-- What was replaced under its name is judged by what is its own. Days without a uid are from when it was made.
instances AS
(
    SELECT customer_id, provider, resource_id, instance_uid AS uid, ifNull(created_at, toDateTime(0, 'UTC')) AS made
    FROM inventory
),
-- The types that it had in the first inventory of each day.
types AS
(
    SELECT
        customer_id, provider, resource_id,
        groupUniqArray(arrayMap(name -> JSONExtractRaw(r.metadata, name), type_facts)) AS had
    FROM resource_metrics AS r
    INNER JOIN instances AS i USING (customer_id, provider, resource_id)
    WHERE resource_type IN ('compute', 'database') AND window_start >= first_day
        AND (r.instance_uid = i.uid OR (r.instance_uid = '' AND i.made <= window_start))
        AND window_start <= {window:DateTime('UTC')}
        AND (customer_id, provider, window_start, batch) IN
        (
            SELECT customer_id, provider, min(b.window_start), argMin(b.batch, b.window_start)
            FROM published_batches AS b
            WHERE dataset = 'resource' AND b.window_start >= first_day AND b.window_start <= {window:DateTime('UTC')}
            GROUP BY customer_id, provider, toDate(b.window_start, 'UTC')
        )
    GROUP BY customer_id, provider, resource_id
),
sizes AS
(
    SELECT *
    FROM machine_sizes
    WHERE window_start > {window:DateTime('UTC')} - INTERVAL 2 DAY AND window_start <= {window:DateTime('UTC')}
    ORDER BY window_start DESC, collected_at DESC
    LIMIT 1 BY customer_id, provider, resource_id
),
metrics AS
(
    SELECT
        customer_id, provider, resource_id, metric_name, statistic,
        sum(least(1, n / expected)) / span AS known,
        quantilesExactInclusiveArray(0.05, 0.95)(values) AS quantiles,
        max(p.maximum) AS highest,
        min(p.minimum) AS lowest
    FROM performance_daily AS p
    INNER JOIN instances AS i USING (customer_id, provider, resource_id)
    WHERE window_start >= first_day AND window_start < today
        AND (p.instance_uid = i.uid OR (p.instance_uid = '' AND i.made < window_start + INTERVAL 1 DAY))
        AND resource_type IN ('compute', 'database')
        AND metric_name IN ('cpu_utilization', 'memory_utilization', 'memory_free')
        AND statistic IN ('average', 'snapshot')
        AND (window_start, batch) IN
        (
            SELECT window_start, batch FROM published_batches
            WHERE dataset = 'performance_daily' AND window_start >= first_day AND window_start < today
        )
    GROUP BY customer_id, provider, resource_id, metric_name, statistic
),
-- Of two statistics the one that is known better.
measured AS
(
    SELECT
        customer_id, provider, resource_id,
        argMaxIf((m.known, m.quantiles[2], m.highest), (m.known, statistic), metric_name = 'cpu_utilization') AS cpu,
        argMaxIf((m.known, m.quantiles[2], m.highest), (m.known, statistic), metric_name = 'memory_utilization') AS used,
        argMaxIf((m.known, m.quantiles[1], m.lowest), (m.known, statistic), metric_name = 'memory_free') AS free
    FROM metrics AS m
    GROUP BY customer_id, provider, resource_id
),
joined AS
(
    SELECT
        customer_id, provider, resource_id,
        i.account_id AS account_id, i.region AS region, i.kind AS kind, i.resource_name AS resource_name,
        i.resource_type AS resource_type, i.status AS status, i.as_of AS as_of, i.complete AS complete,
        s.type AS type, s.vcpus AS vcpus, s.memory_gib AS memory_gib,
        s.smaller_type AS smaller_type, s.smaller_vcpus AS smaller_vcpus, s.memory_share AS memory_share,
        s.why_not AS why_not, s.note AS note,
        s.monthly AS monthly_amount, s.smaller_monthly AS smaller_amount, s.currency AS currency,
        length(arrayDistinct(arrayPushBack(t.had, i.of_type))) > 1 AS is_resized,
        i.status NOT IN ('running', 'available') AS is_off,
        m.cpu.1 AS cpu_share,
        m.cpu.2 AS cpu_95,
        m.cpu.3 AS cpu_most,
        -- Free bytes are a share where the type's memory is known.
        m.used.1 >= known_enough OR m.used.1 >= m.free.1 OR isNull(s.memory_gib) AS is_used,
        if(is_used, m.used.1, m.free.1) AS memory_points,
        if(is_used, m.used.2, greatest(0, 100 * (1 - m.free.2 / (s.memory_gib * pow(2, 30))))) AS memory_95,
        if(is_used, m.used.3, greatest(0, 100 * (1 - m.free.3 / (s.memory_gib * pow(2, 30))))) AS memory_most,
        NOT is_resized AND cpu_share >= known_enough AS is_cpu_known,
        NOT is_resized AND memory_points >= known_enough AS is_memory_known,
        vcpus / smaller_vcpus AS cpu_times,
        1 / memory_share AS memory_times
    FROM inventory AS i
    INNER JOIN sizes AS s USING (customer_id, provider, resource_id)
    LEFT JOIN types AS t USING (customer_id, provider, resource_id)
    LEFT JOIN measured AS m USING (customer_id, provider, resource_id)
),
judged AS
(
    SELECT
        *,
        is_memory_known AND isNotNull(memory_share) AS is_memory_judged,
        multiIf(
            is_off, ('unknown', concat('it is not known to run: its status is ', status)),
            smaller_type = '', ('no_smaller_type', why_not),
            is_resized, ('unknown', 'its type has changed in the 14 days'),
            isNull(cpu_times), ('unknown', 'the vCPUs of its type are not known'),
            NOT is_cpu_known, ('unknown', format('{} % of the CPU of 14 days is known, and 90 % are needed',
                toString(floor(100 * cpu_share)))),
            cpu_95 * ifNull(cpu_times, 0) > most_cpu_p95,
                ('keep', format('the p95 of CPU would be {} % of {}',
                    toString(round(cpu_95 * ifNull(cpu_times, 0), 1)), smaller_type)),
            is_memory_judged AND memory_95 * ifNull(memory_times, 0) > most_memory_p95,
                ('keep', format('the p95 of memory would be {} % of {}',
                    toString(round(ifNull(memory_95 * memory_times, 0), 1)), smaller_type)),
            -- What is known of the memory in part can say no, and never yes.
            memory_points > 0 AND memory_most * ifNull(memory_times, 0) > if(is_memory_judged, most_memory, 100),
                ('keep', format('its memory would have been {} % of {}',
                    toString(round(ifNull(memory_most * memory_times, 0), 1)), smaller_type)),
            isNull(monthly_amount), ('unknown', 'its own list price is not known'),
            isNull(smaller_amount), ('unknown', format('the price list has no price of {} there', smaller_type)),
            smaller_amount >= monthly_amount, ('keep', format('{} costs no less', smaller_type)),
            ('smaller', '')) AS judgement,
        judgement.1 AS verdict,
        verdict = 'smaller' AS is_smaller
    FROM joined
)
SELECT
    customer_id,
    provider,
    account_id,
    region,
    kind,
    resource_id,
    resource_name,
    resource_type,
    status,
    type,   -- the cloud's name of the type it is in
    vcpus,   -- of its type; null where they are not known
    memory_gib,   -- of its type; null where it is not known
    if(is_cpu_known, cpu_95, NULL) AS cpu_p95,   -- of 14 days, in percent; null where too little is known
    if(is_cpu_known, cpu_most, NULL) AS cpu_highest,   -- of 5 minutes in 14 days, in percent
    cpu_share AS cpu_known,   -- how much of the 14 days is known, 0 to 1
    if(is_memory_known, memory_95, NULL) AS memory_p95,   -- of 14 days, in percent; null where too little is known
    if(is_memory_known, memory_most, NULL) AS memory_highest,   -- of 5 minutes in 14 days, in percent
    memory_points AS memory_known,   -- how much of the 14 days is known, 0 to 1
    verdict,   -- smaller, keep, no_smaller_type or unknown
    if(is_smaller, smaller_type, '') AS suggested_type,   -- the next smaller type, where it would do
    if(is_smaller, smaller_vcpus, NULL) AS suggested_vcpus,   -- vCPUs of the suggested type
    if(is_smaller, memory_gib * memory_share, NULL) AS suggested_memory_gib,   -- memory of the suggested type
    if(is_smaller, cpu_95 * cpu_times, NULL) AS cpu_p95_then,   -- the p95 of CPU in percent of the suggested type
    if(is_smaller, cpu_most * cpu_times, NULL) AS cpu_highest_then,   -- above 100: it would have been cut off
    if(is_smaller AND is_memory_judged, memory_95 * memory_times, NULL) AS memory_p95_then,   -- null: not known
    monthly_amount,   -- the list price of a month as it is; null where it has none
    if(is_smaller, smaller_amount, NULL) AS suggested_amount,   -- the list price of a month in the suggested type
    if(is_smaller, monthly_amount - smaller_amount, NULL) AS saving,   -- a month, by list prices
    currency,
    multiIf(NOT is_smaller, '', is_memory_judged, 'CPU and memory', 'CPU only') AS basis,   -- what the verdict rests on
    multiIf(NOT is_smaller, '', cpu_most * cpu_times > 100, 'high', is_memory_judged, 'low', 'medium') AS risk,   -- low, medium or high
    if(is_smaller,
        concat(
            format('CPU of {} vCPUs: p95 {} %, at most {} %; of {}: {} % and {} %', toString(vcpus),
                toString(round(cpu_95, 1)), toString(round(cpu_most, 1)), toString(smaller_vcpus),
                toString(round(ifNull(cpu_95 * cpu_times, 0), 1)),
                toString(round(ifNull(cpu_most * cpu_times, 0), 1))),
            if(is_memory_judged,
                format('; memory: p95 {} %, then {} %', toString(round(memory_95, 1)),
                    toString(round(ifNull(memory_95 * memory_times, 0), 1))),
                '; CPU only: whether the memory suffices is not known'),
            if(note = '', '', concat('; ', note))),
        judgement.2) AS reason,   -- why, in words
    as_of,
    complete   -- false: that inventory is partial
FROM judged
