-- What several readers begin with, as views that take the window: newest_inventories(window = {window:DateTime('UTC')}).

-- The resources of each customer's and provider's newest published inventory, at most a day old.
CREATE VIEW newest_inventories AS
SELECT
    r.* EXCEPT (window_start, batch),
    r.window_start AS as_of,       -- the inventory's own window
    newest.complete AS complete    -- false: it is partial
FROM resource_metrics AS r
INNER JOIN
(
    SELECT
        customer_id,
        provider,
        max(b.window_start) AS window_start,
        argMax(b.batch, (b.window_start, b.batch)) AS batch,
        argMax(status, (b.window_start, b.batch)) = 'ok' AS complete
    FROM metric_batches AS b
    WHERE dataset = 'resource' AND status IN ('ok', 'partial')
        AND b.window_start <= {window:DateTime('UTC')}
        AND b.window_start > {window:DateTime('UTC')} - INTERVAL 1 DAY
    GROUP BY customer_id, provider
) AS newest USING (customer_id, provider, window_start, batch)
WHERE r.window_start <= {window:DateTime('UTC')} AND r.window_start > {window:DateTime('UTC')} - INTERVAL 1 DAY;

-- The charges of the 30 days to yesterday, of the month to date and of today so far, with the periods that each is of.
CREATE VIEW recent_costs AS
WITH
toDate({window:DateTime('UTC')}, 'UTC') AS today,
least(toStartOfMonth(today), today - 30) AS first_day
SELECT
    c.*,
    if(c.cost_kind = 'billed', c.amount, 0) AS billed,
    if(c.cost_kind = 'billed', 0, c.amount) AS estimated,
    if(c.cost_kind = 'billed' AND NOT c.is_final, c.amount, 0) AS provisional,   -- of billed: may still be restated
    arrayFilter((name, is_in) -> is_in,
        ['today', 'yesterday', 'last_30_days', 'month_to_date'],
        [c.charge_day = today, c.charge_day = today - 1, c.charge_day BETWEEN today - 30 AND today - 1,
         c.charge_day >= toStartOfMonth(today)]) AS periods
FROM costs AS c
WHERE c.charge_day >= first_day
    AND c.window_start >= toDateTime(first_day, 'UTC') AND c.window_start <= {window:DateTime('UTC')};

-- The verdicts in figures: by application, model, metric and version of the judge, of the window and of the day so far,
-- for the `metrics` that are asked for.
--
-- A day's mean is the plain mean of the scores of its published windows, each judged interaction counting once. It is
-- not weighted by how many interactions each one stands for: `population` beside `n` says how small the sample is. The
-- rate is the share of scores above 0.
--
-- The intervals are Wilson's, 95 %. For a mean the mean is taken as the share, which for scores between 0 and 1 errs on
-- the wide side: no variable in [0, 1] varies more than the yes-or-no variable with the same mean, whose variance is
-- mean * (1 - mean).
--
-- worse_than_last_week: the day's interval lies entirely on the worse side of that of the seven whole days before it
-- (each weekday once) by the same version of the judge. Compared are rates of hallucination and toxicity, means of the
-- others. Null where either side has no scores, and for a single window, also while it is the day's only one: its few
-- samples allow nearly anything.
--
-- corrected_rate is Rogan and Gladen's: what the true rate would be, if the judge errs here as often as it did on the
-- golden set. Null until this version of the judge was scored on one, or where it did no better than chance there.
CREATE VIEW application_figures AS
WITH
1.959963984540054 AS z,
(mean, n) -> if(n = 0, NULL, greatest(0.,
    (mean * n + z * z / 2 - z * sqrt(mean * (1 - mean) * n + z * z / 4)) / (n + z * z))) AS wilson_low,
(mean, n) -> if(n = 0, NULL, least(1.,
    (mean * n + z * z / 2 + z * sqrt(mean * (1 - mean) * n + z * z / 4)) / (n + z * z))) AS wilson_high,
(rate, sensitivity, specificity) -> if(sensitivity + specificity > 1,
    least(1., greatest(0., (rate + specificity - 1) / (sensitivity + specificity - 1))), NULL) AS rogan_gladen,
published AS
(
    SELECT customer_id, provider, window_start, max(b.batch) AS batch, argMax(b.status, b.batch) = 'ok' AS complete
    FROM metric_batches AS b
    WHERE dataset = 'application' AND status IN ('ok', 'partial')
        AND window_start >= toStartOfDay({window:DateTime('UTC')}) - INTERVAL 7 DAY
        AND window_start <= {window:DateTime('UTC')}
    GROUP BY customer_id, provider, window_start
),
judged AS
(
    SELECT
        if(a.window_start = {window:DateTime('UTC')}, ['window', 'day'], ['day']) AS periods,
        a.customer_id AS customer_id,
        a.provider AS provider,
        a.application_id AS application_id,
        a.application_name AS application_name,
        a.model_name AS model_name,
        -- A sample's population and price are those of every metric.
        if(a.metric_type = 'sample', {metrics:Array(String)}, [a.metric_type]) AS metrics,
        a.judge_model AS judge_model,
        a.judge_version AS judge_version,
        a.metric_type = 'sample' AS is_sample,
        a.score AS score,
        a.label AS label,
        a.details AS details,
        JSONExtractString(a.details, 'category') AS category,
        toDecimal64OrNull(JSONExtractString(a.details, 'usd'), 9) AS usd,
        a.window_start AS window_start,
        p.complete AS complete
    FROM application_metrics AS a
    INNER JOIN published AS p USING (customer_id, provider, window_start, batch)
    WHERE a.window_start >= toStartOfDay({window:DateTime('UTC')}) AND a.window_start <= {window:DateTime('UTC')}
        AND (a.metric_type = 'sample' OR a.metric_type IN {metrics:Array(String)})
),
-- Apart, because of the week only scores are read.
last_week AS
(
    SELECT
        a.customer_id AS customer_id,
        a.provider AS provider,
        a.application_id AS application_id,
        a.model_name AS model_name,
        a.metric_type AS metric_type,
        a.judge_version AS judge_version,
        count(a.score) AS n,
        avg(a.score) AS mean,
        avg(a.score > 0) AS rate
    FROM application_metrics AS a
    INNER JOIN published AS p USING (customer_id, provider, window_start, batch)
    WHERE a.window_start >= toStartOfDay({window:DateTime('UTC')}) - INTERVAL 7 DAY
        AND a.window_start < toStartOfDay({window:DateTime('UTC')})
        AND a.metric_type IN {metrics:Array(String)}
    GROUP BY customer_id, provider, application_id, model_name, metric_type, judge_version
),
figures AS
(
    SELECT
        period,
        customer_id,
        provider,
        application_id,
        argMaxIf(j.application_name, j.window_start, j.application_name != '') AS application_name,
        model_name,
        metric_type,
        metric_type IN ('hallucination', 'toxicity') AS is_rate,
        judge_model,
        judge_version,
        sumIf(JSONExtractUInt(j.details, 'population'), j.is_sample) AS population,
        countIf(NOT j.is_sample) AS sampled,
        count(j.score) AS n,
        uniqExactIf(j.window_start, isNotNull(j.score)) AS windows,
        avg(j.score) AS mean,
        countIf(j.score > 0) / nullIf(n, 0) AS rate,
        max(j.score) AS highest,
        sumMap(map(j.label, 1)) AS labels,
        sumMapIf(map(if(j.category = '', 'unspecified', j.category), 1), j.score > 0) AS categories,
        sum(JSONExtractUInt(j.details, 'claims_checked')) AS claims_checked,
        sum(JSONExtractUInt(j.details, 'unsupported_claims')) AS unsupported_claims,
        sumIf(JSONExtractUInt(j.details, 'tokens'), j.is_sample) AS tokens,
        if(countIf(j.is_sample AND isNull(j.usd)) > 0, NULL, sumIf(ifNull(j.usd, 0), j.is_sample)) AS usd,
        max(JSONExtractBool(j.details, 'self_preference')) AS self_preference,
        max(j.window_start) AS as_of,
        min(j.complete) AS complete
    FROM judged AS j
    ARRAY JOIN periods AS period
    ARRAY JOIN metrics AS metric_type
    GROUP BY period, customer_id, provider, application_id, model_name, metric_type, judge_model, judge_version
),
compared AS
(
    SELECT
        f.*,
        wilson_low(f.mean, f.n) AS low,
        wilson_high(f.mean, f.n) AS high,
        wilson_low(f.rate, f.n) AS rate_low,
        wilson_high(f.rate, f.n) AS rate_high,
        w.n AS last_week_n,
        w.mean AS last_week_mean,
        w.rate AS last_week_rate,
        wilson_low(if(f.is_rate, w.rate, w.mean), w.n) AS last_week_low,
        wilson_high(if(f.is_rate, w.rate, w.mean), w.n) AS last_week_high,
        if(f.period = 'day' AND f.windows > 1, if(f.is_rate, rate_low > last_week_high, high < last_week_low), NULL)
            AS worse_than_last_week
    FROM figures AS f
    LEFT JOIN last_week AS w USING (customer_id, provider, application_id, model_name, metric_type, judge_version)
)
SELECT
    c.*,
    c.labels['not_assessable'] AS not_assessable,
    c.labels['judge_failed'] AS failures,
    c.labels['over_budget'] AS over_budget,
    g.sensitivity AS sensitivity,
    g.specificity AS specificity,
    rogan_gladen(c.rate, g.sensitivity, g.specificity) AS corrected_rate
FROM compared AS c
LEFT JOIN (SELECT judge_version, metric_type, sensitivity, specificity FROM application_golden_current) AS g
    USING (judge_version, metric_type);
