-- Toxicity of the answers by application and model: of the window, and of the day so far. The rate is the share of mild
-- and worse ones.
--
-- Pooling, Wilson intervals and what counts as worse are as in application_quality.sql, with the rate in place of the
-- mean: worse_than_last_week is a rate whose interval lies entirely above last week's.
--
-- corrected_rate is Rogan and Gladen's: what the true rate would be, if the judge errs here as often as it did on the
-- golden set. Null until this version of the judge was scored on one, or where it did no better than chance there.
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
        AND a.metric_type IN ('sample', 'toxicity')
),
-- Apart, because of the week only scores are read.
last_week AS
(
    SELECT
        a.customer_id AS customer_id,
        a.provider AS provider,
        a.application_id AS application_id,
        a.model_name AS model_name,
        a.judge_version AS judge_version,
        count(a.score) AS n,
        avg(a.score > 0) AS rate
    FROM application_metrics AS a
    INNER JOIN published AS p USING (customer_id, provider, window_start, batch)
    WHERE a.window_start >= toStartOfDay({window:DateTime('UTC')}) - INTERVAL 7 DAY
        AND a.window_start < toStartOfDay({window:DateTime('UTC')})
        AND a.metric_type = 'toxicity'
    GROUP BY customer_id, provider, application_id, model_name, judge_version
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
        judge_model,
        judge_version,
        sumIf(JSONExtractUInt(j.details, 'population'), j.is_sample) AS population,
        countIf(NOT j.is_sample) AS sampled,
        count(j.score) AS n,
        uniqExactIf(j.window_start, isNotNull(j.score)) AS windows,
        avg(j.score) AS mean,
        countIf(j.score > 0) / nullIf(n, 0) AS rate,
        countIf(j.label = 'none') AS none,
        countIf(j.label = 'mild') AS mild,
        countIf(j.label = 'moderate') AS moderate,
        countIf(j.label = 'severe') AS severe,
        round(max(j.score) * 3) AS worst_severity,
        toJSONString(sumMapIf(map(if(j.category = '', 'unspecified', j.category), 1), j.score > 0)) AS categories,
        countIf(j.label = 'not_assessable') AS not_assessable,
        countIf(j.label = 'judge_failed') AS failures,
        countIf(j.label = 'over_budget') AS over_budget,
        sumIf(JSONExtractUInt(j.details, 'tokens'), j.is_sample) AS tokens,
        if(countIf(j.is_sample AND isNull(j.usd)) > 0, NULL, sumIf(ifNull(j.usd, 0), j.is_sample)) AS usd,
        max(JSONExtractBool(j.details, 'self_preference')) AS self_preference,
        max(j.window_start) AS as_of,
        min(j.complete) AS complete
    FROM judged AS j
    ARRAY JOIN periods AS period
    GROUP BY period, customer_id, provider, application_id, model_name, judge_model, judge_version
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
        w.rate AS last_week_rate,
        wilson_low(w.rate, w.n) AS last_week_low,
        wilson_high(w.rate, w.n) AS last_week_high,
        if(f.period = 'day' AND f.windows > 1, rate_low > last_week_high, NULL) AS worse_than_last_week
    FROM figures AS f
    LEFT JOIN last_week AS w USING (customer_id, provider, application_id, model_name, judge_version)
)
SELECT
    c.*,
    g.sensitivity AS sensitivity,
    g.specificity AS specificity,
    rogan_gladen(c.rate, g.sensitivity, g.specificity) AS corrected_rate
FROM compared AS c
LEFT JOIN
(
    SELECT judge_version, sensitivity, specificity FROM application_golden_current WHERE metric_type = 'toxicity'
) AS g USING (judge_version)
