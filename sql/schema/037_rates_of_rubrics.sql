-- Figures of retrieval and of the customers' own rubrics have a rate, too: the weighted share of answers on the bad side
-- of the middle, which is what the golden set says of them how often the judge finds it. So they are corrected as other
-- rates are. All else is as it was (029). Of the week before, whose rows are read without details, a rubric's rate is that
-- of one whose higher scores are better.
CREATE OR REPLACE VIEW application_figures AS
WITH
1.959963984540054 AS z,
toStartOfDay({window:DateTime('UTC')}) AS today,
published AS
(
    SELECT customer_id, provider, window_start, max(b.batch) AS batch, argMax(b.status, b.batch) = 'ok' AS complete
    FROM metric_batches AS b
    WHERE dataset = 'application' AND status IN ('ok', 'partial')
        AND window_start >= today - INTERVAL 7 DAY AND window_start <= {window:DateTime('UTC')}
    GROUP BY customer_id, provider, window_start
),
-- Of the week only what its means are of: no details, which are most of the bytes.
wanted AS
(
    SELECT
        window_start, batch, customer_id, provider, application_id, application_name, model_name, judge_model,
        judge_version, metric_type = 'sample' AS is_sample, score, label, details, population,
        -- A sample's population and price are those of every metric.
        if(is_sample, arrayPushBack({metrics:Array(String)}, 'sample'), [toString(metric_type)]) AS metrics
    FROM application_metrics
    WHERE window_start >= today AND window_start <= {window:DateTime('UTC')}
        AND (metric_type = 'sample' OR metric_type IN {metrics:Array(String)}
            OR has({metrics:Array(String)}, 'rubric:') AND startsWith(metric_type, 'rubric:'))
    UNION ALL
    SELECT
        window_start, batch, customer_id, provider, application_id, '', model_name, judge_model,
        judge_version, metric_type = 'sample' AS is_sample, score, label, '', population,
        [toString(metric_type)]
    FROM application_metrics
    WHERE window_start >= today - INTERVAL 7 DAY AND window_start < today
        AND (metric_type = 'sample' OR metric_type IN {metrics:Array(String)}
            OR has({metrics:Array(String)}, 'rubric:') AND startsWith(metric_type, 'rubric:'))
),
of_windows AS
(
    SELECT
        window_start, customer_id, provider, application_id, model_name, metric_type, judge_model, judge_version,
        max(a.application_name) AS name,
        any(p.complete) AS is_complete,
        max(sum(a.population)) OVER (PARTITION BY window_start, customer_id, provider, application_id, model_name)
            AS all_of_it,
        countIf(NOT a.is_sample) AS chosen,
        count(a.score) AS scored,
        sum(a.score) AS scores,
        sum(a.score * a.score) AS squares,
        countIf(multiIf(
            metric_type IN ('groundedness', 'context_relevance', 'context_precision', 'context_recall'), a.score < 0.5,
            NOT startsWith(metric_type, 'rubric:'), a.score > 0,
            JSONExtractString(a.details, 'direction') = 'higher_is_worse', a.score > 0.5,
            a.score < 0.5)) AS hits,
        countIf(a.score >= 1) AS tops,
        max(a.score) AS highest,
        sumMap(map(a.label, 1)) AS labels,
        sumMapIf(map(if(JSONExtractString(a.details, 'category') AS kind = '', 'unspecified', kind), 1), a.score > 0)
            AS categories,
        sum(JSONExtractUInt(a.details, 'claims_checked')) AS claims,
        sum(JSONExtractUInt(a.details, 'unsupported_claims')) AS unsupported,
        max(JSONExtractBool(a.details, 'self_preference')) AS is_own,
        sumIf(JSONExtractUInt(a.details, 'tokens'), a.is_sample) AS used,
        countIf(a.is_sample AND isNull(toDecimal64OrNull(JSONExtractString(a.details, 'usd'), 9) AS price)) AS unpriced,
        sumIf(ifNull(price, 0), a.is_sample) AS paid,
        chosen - labels['judge_failed'] - labels['over_budget'] AS answered,
        if(answered = 0, 0, greatest(all_of_it, answered) / answered) AS weight
    FROM wanted AS a
    INNER JOIN published AS p USING (customer_id, provider, window_start, batch)
    ARRAY JOIN a.metrics AS metric_type
    GROUP BY window_start, customer_id, provider, application_id, model_name, metric_type, judge_model, judge_version
),
sums AS
(
    SELECT
        period, customer_id, provider, application_id, model_name, metric_type, judge_model, judge_version,
        argMaxIf(w.name, w.window_start, w.name != '') AS application_name,
        sum(w.all_of_it) AS population,
        sum(w.chosen) AS sampled,
        sum(w.scored) AS n,
        nullIf(sum(w.weight * w.scored), 0) AS weights,
        sum(w.weight * w.weight * w.scored) AS squared_weights,
        countIf(w.scored > 0) AS windows,
        sum(w.weight * w.scores) AS scores,
        sum(w.weight * w.squares) AS squares,
        sum(w.weight * w.hits) AS hits,
        sum(w.weight * w.tops) AS tops,
        max(w.highest) AS highest,
        sumMap(w.labels) AS labels,
        sumMap(w.categories) AS categories,
        sum(w.claims) AS claims_checked,
        sum(w.unsupported) AS unsupported_claims,
        sum(w.used) AS tokens,
        if(sum(w.unpriced) > 0, NULL, sum(w.paid)) AS usd,
        max(w.is_own) AS self_preference,
        max(w.window_start) AS as_of,
        min(w.is_complete) AS complete
    FROM of_windows AS w
    ARRAY JOIN multiIf(
        w.metric_type IN ('sample', 'rubric:'), [],
        w.window_start < today, ['last_week'],
        w.window_start < toStartOfHour({window:DateTime('UTC')}), ['day'],
        w.window_start < {window:DateTime('UTC')}, ['hour', 'day'],
        ['window', 'hour', 'day']) AS period
    GROUP BY period, customer_id, provider, application_id, model_name, metric_type, judge_model, judge_version
),
figures AS
(
    SELECT
        *,
        weights * weights / squared_weights AS effective_n,
        if(scores > weights, 1., scores / weights) AS mean,
        if(hits > weights, 1., hits / weights) AS rate,
        metric_type IN ('hallucination', 'toxicity') AS is_rate,
        -- How much scores vary: 1 as yes-or-no ones of this mean, 0 not at all.
        multiIf(isNull(mean), NULL, mean * (1 - mean) < 1e-9, 1, least(1.,
            (n * greatest(0., squares / weights - mean * mean) / (mean * (1 - mean)) + 1) / (n + 1))) AS spread
    FROM sums
),
bounded AS
(
    SELECT
        *,
        effective_n / spread AS tells,
        z * sqrt(mean * (1 - mean) * tells + z * z / 4) AS reach,
        z * sqrt(rate * (1 - rate) * effective_n + z * z / 4) AS rate_reach,
        if(isNull(mean), NULL, greatest(0., least(mean, (mean * tells + z * z / 2 - reach) / (tells + z * z)))) AS low,
        if(isNull(mean), NULL, least(1., greatest(mean, (mean * tells + z * z / 2 + reach) / (tells + z * z)))) AS high,
        if(isNull(rate), NULL, greatest(0., least(rate,
            (rate * effective_n + z * z / 2 - rate_reach) / (effective_n + z * z)))) AS rate_low,
        if(isNull(rate), NULL, least(1., greatest(rate,
            (rate * effective_n + z * z / 2 + rate_reach) / (effective_n + z * z)))) AS rate_high
    FROM figures
),
compared AS
(
    SELECT
        *,
        anyIf(n, period = 'last_week') OVER same AS last_week_n,
        anyIf(mean, period = 'last_week') OVER same AS last_week_mean,
        anyIf(rate, period = 'last_week') OVER same AS last_week_rate,
        anyIf(if(is_rate, rate_low, low), period = 'last_week') OVER same AS last_week_low,
        anyIf(if(is_rate, rate_high, high), period = 'last_week') OVER same AS last_week_high
    FROM bounded
    WINDOW same AS (PARTITION BY customer_id, provider, application_id, model_name, metric_type, judge_version)
)
SELECT
    period,
    customer_id,
    provider,
    application_id,
    application_name,
    model_name,
    metric_type,
    judge_model,
    judge_version,
    population,
    sampled,
    n,
    effective_n,
    windows,
    mean,
    low,
    high,
    rate,
    rate_low,
    rate_high,
    tops / weights AS top_rate,
    highest,
    labels,
    labels['not_assessable'] AS not_assessable,
    labels['judge_failed'] AS failures,
    labels['over_budget'] AS over_budget,
    categories,
    claims_checked,
    unsupported_claims,
    tokens,
    usd,
    self_preference,
    last_week_n,
    last_week_mean,
    last_week_rate,
    last_week_low,
    last_week_high,
    CAST(NULL AS Nullable(Bool)) AS worse_than_last_week,
    as_of,
    complete
FROM compared
WHERE period != 'last_week';
