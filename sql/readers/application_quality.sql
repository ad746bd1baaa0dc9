-- Coherence, relevance and accuracy by application and model: of the window, and of the day so far.
--
-- A day's mean is the plain mean of the scores of its published windows, each judged interaction counting once. It is
-- not weighted by how many interactions each one stands for: `population` beside `n` says how small the sample is.
--
-- The interval is Wilson's, 95 %, with the mean as the share. For scores between 0 and 1 it errs on the wide side: no
-- variable in [0, 1] varies more than the yes-or-no variable with the same mean, whose variance is mean * (1 - mean).
--
-- worse_than_last_week: the day's interval lies entirely below that of the seven whole days before it (each weekday
-- once) by the same version of the judge. Null where either side has no scores, and for a single window, also while it
-- is the day's only one: its few samples allow nearly anything.
WITH
1.959963984540054 AS z,
(mean, n) -> if(n = 0, NULL, greatest(0.,
    (mean * n + z * z / 2 - z * sqrt(mean * (1 - mean) * n + z * z / 4)) / (n + z * z))) AS wilson_low,
(mean, n) -> if(n = 0, NULL, least(1.,
    (mean * n + z * z / 2 + z * sqrt(mean * (1 - mean) * n + z * z / 4)) / (n + z * z))) AS wilson_high,
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
        if(a.metric_type = 'sample', ['coherence', 'relevance', 'accuracy'], [a.metric_type]) AS metrics,
        a.judge_model AS judge_model,
        a.judge_version AS judge_version,
        a.metric_type = 'sample' AS is_sample,
        a.score AS score,
        a.label AS label,
        a.details AS details,
        toDecimal64OrNull(JSONExtractString(a.details, 'usd'), 9) AS usd,
        a.window_start AS window_start,
        p.complete AS complete
    FROM application_metrics AS a
    INNER JOIN published AS p USING (customer_id, provider, window_start, batch)
    WHERE a.window_start >= toStartOfDay({window:DateTime('UTC')}) AND a.window_start <= {window:DateTime('UTC')}
        AND a.metric_type IN ('sample', 'coherence', 'relevance', 'accuracy')
),
-- Apart, because of the week only scores are read.
last_week AS
(
    SELECT
        a.customer_id AS customer_id,
        a.provider AS provider,
        a.application_id AS application_id,
        a.model_name AS model_name,
        a.metric_type AS metric,
        a.judge_version AS judge_version,
        count(a.score) AS n,
        avg(a.score) AS mean
    FROM application_metrics AS a
    INNER JOIN published AS p USING (customer_id, provider, window_start, batch)
    WHERE a.window_start >= toStartOfDay({window:DateTime('UTC')}) - INTERVAL 7 DAY
        AND a.window_start < toStartOfDay({window:DateTime('UTC')})
        AND a.metric_type IN ('coherence', 'relevance', 'accuracy')
    GROUP BY customer_id, provider, application_id, model_name, metric, judge_version
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
        metric,
        judge_model,
        judge_version,
        sumIf(JSONExtractUInt(j.details, 'population'), j.is_sample) AS population,
        countIf(NOT j.is_sample) AS sampled,
        count(j.score) AS n,
        uniqExactIf(j.window_start, isNotNull(j.score)) AS windows,
        avg(j.score) AS mean,
        countIf(j.label = 'very_poor') AS very_poor,
        countIf(j.label = 'poor') AS poor,
        countIf(j.label = 'fair') AS fair,
        countIf(j.label = 'good') AS good,
        countIf(j.label = 'excellent') AS excellent,
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
    ARRAY JOIN metrics AS metric
    GROUP BY period, customer_id, provider, application_id, model_name, metric, judge_model, judge_version
)
SELECT
    f.*,
    f.metric AS metric_type,
    wilson_low(f.mean, f.n) AS low,
    wilson_high(f.mean, f.n) AS high,
    w.n AS last_week_n,
    w.mean AS last_week_mean,
    wilson_low(w.mean, w.n) AS last_week_low,
    wilson_high(w.mean, w.n) AS last_week_high,
    if(f.period = 'day' AND f.windows > 1, high < last_week_low, NULL) AS worse_than_last_week
FROM figures AS f
LEFT JOIN last_week AS w USING (customer_id, provider, application_id, model_name, metric, judge_version)
