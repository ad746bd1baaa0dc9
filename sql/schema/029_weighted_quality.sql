-- Figures of LLM quality stand for all interactions, not for those that happened to be judged: each judged one counts for
-- as many as its window has for one judged. Means and rates of before are as they were computed.

-- Of a sample's row the interactions that the sample was drawn from: a week's are read without their details.
ALTER TABLE application_metrics ADD COLUMN IF NOT EXISTS population
    UInt64 MATERIALIZED if(metric_type = 'sample', JSONExtractUInt(details, 'population'), 0) CODEC(ZSTD(1));

-- Null in rows of before.
ALTER TABLE application_quality ADD COLUMN IF NOT EXISTS effective_n Nullable(Float64) CODEC(ZSTD(1));
ALTER TABLE application_hallucinations ADD COLUMN IF NOT EXISTS effective_n Nullable(Float64) CODEC(ZSTD(1));
ALTER TABLE application_hallucinations ADD COLUMN IF NOT EXISTS corrected_low Nullable(Float64) CODEC(ZSTD(1));
ALTER TABLE application_hallucinations ADD COLUMN IF NOT EXISTS corrected_high Nullable(Float64) CODEC(ZSTD(1));
ALTER TABLE application_hallucinations ADD COLUMN IF NOT EXISTS not_corrected_because LowCardinality(String) CODEC(ZSTD(1));
ALTER TABLE application_toxicity ADD COLUMN IF NOT EXISTS effective_n Nullable(Float64) CODEC(ZSTD(1));
ALTER TABLE application_toxicity ADD COLUMN IF NOT EXISTS corrected_low Nullable(Float64) CODEC(ZSTD(1));
ALTER TABLE application_toxicity ADD COLUMN IF NOT EXISTS corrected_high Nullable(Float64) CODEC(ZSTD(1));
ALTER TABLE application_toxicity ADD COLUMN IF NOT EXISTS not_corrected_because LowCardinality(String) CODEC(ZSTD(1));
ALTER TABLE application_summary ADD COLUMN IF NOT EXISTS effective_n Nullable(Float64) CODEC(ZSTD(1));

-- Positives without a verdict count as not found; in rows of before they were left out.
ALTER TABLE application_golden ADD COLUMN IF NOT EXISTS missed UInt32 CODEC(ZSTD(1));

-- A view keeps the columns that its table had when it was made.
CREATE OR REPLACE VIEW application_golden_current AS
SELECT *
FROM application_golden
ORDER BY scored_at DESC
LIMIT 1 BY judge_version, metric_type;

CREATE OR REPLACE VIEW application_quality_current AS
SELECT t.* EXCEPT (batch)
FROM application_quality AS t
LEFT SEMI JOIN (SELECT window_start, batch FROM published_batches WHERE dataset = 'application_quality') AS b
    USING (window_start, batch);

CREATE OR REPLACE VIEW application_hallucinations_current AS
SELECT t.* EXCEPT (batch)
FROM application_hallucinations AS t
LEFT SEMI JOIN (SELECT window_start, batch FROM published_batches WHERE dataset = 'application_hallucinations') AS b
    USING (window_start, batch);

CREATE OR REPLACE VIEW application_toxicity_current AS
SELECT t.* EXCEPT (batch)
FROM application_toxicity AS t
LEFT SEMI JOIN (SELECT window_start, batch FROM published_batches WHERE dataset = 'application_toxicity') AS b
    USING (window_start, batch);

CREATE OR REPLACE VIEW application_summary_current AS
SELECT t.* EXCEPT (batch)
FROM application_summary AS t
LEFT SEMI JOIN (SELECT window_start, batch FROM published_batches WHERE dataset = 'application_summary') AS b
    USING (window_start, batch);

-- The verdicts in figures: by application, model, metric and version of the judge, of the window, of the hour and of the
-- day so far, for the `metrics` that are asked for; `rubric:` stands for all of the customers' own rubrics.
--
-- A sample is drawn of each window apart, so a judged interaction stands for population / answered of its window's. A
-- mean is that of the scores with these weights, a rate the weighted share of scores above 0. Interactions that the
-- judge failed on, or was not asked about for want of budget, are taken to be like the window's others, and windows in
-- which nothing was judged to be like the others of the period; `failures`, `over_budget`, `windows` and `population`
-- say how much that is. An answer without a score (not assessable) is not missing: what is estimated is the mean of those
-- that can be assessed. A second judge's and a rubric's verdicts stand for the interactions of the window, too, whose
-- sample they are of. Without a sample's row each interaction stands for itself.
--
-- The intervals are 95 %: Wilson's, with `effective_n` in place of n, Kish's (sum of weights)² / (sum of squared weights),
-- and for a mean that divided by how much scores vary in relation to yes-or-no ones of the same mean, which have the
-- largest variance that scores from 0 to 1 can have. One yes-or-no score is counted with them, so that scores which happen
-- to be equal do not leave an interval of no length. The intervals are of what the application does, not of the
-- interactions of that day only: they stay where everything was judged. Windows that differ from each other make them
-- wider than they need be, never narrower. `tests/benchmarks/intervals.py` has their coverage.
--
-- last_week_* are of the seven whole days before, by the same version of the judge: to look at. Whether a day is worse is
-- not told from two intervals: worse_than_last_week is always null.
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
        countIf(a.score > 0) AS hits,
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

-- The same, with the rates corrected for how often the judge errs, as far as a golden set tells.
--
-- corrected_rate is Rogan and Gladen's: what the true rate would be, if the judge errs here as often as it did there. Its
-- interval is Lang and Reiczigel's (2014), which has the golden set's own uncertainty in it: one more of each kind in the
-- golden set, z² / 2 more of each in the sample, of which `effective_n` is the size.
CREATE OR REPLACE VIEW corrected_figures AS
WITH
1.959963984540054 AS z,
golden AS
(
    SELECT
        judge_version,
        metric_type,
        sensitivity,
        specificity,
        positives + negatives AS labelled,
        (positives * sensitivity + 1) / (positives + 2) AS found,
        (negatives * specificity + 1) / (negatives + 2) AS left_alone,
        found * (1 - found) / (positives + 2) AS found_variance,
        left_alone * (1 - left_alone) / (negatives + 2) AS left_alone_variance
    FROM application_golden_current
)
SELECT
    f.*,
    g.sensitivity AS sensitivity,
    g.specificity AS specificity,
    multiIf(
        g.labelled = 0, 'this version of the judge was not scored on a golden set',
        isNull(g.sensitivity), 'the golden set has no positives',
        isNull(g.specificity), 'the golden set has no negatives that were scored',
        g.sensitivity + g.specificity <= 1, 'the judge did no better than chance on the golden set',
        isNull(f.rate), 'nothing was scored',
        '') AS not_corrected_because,
    if(not_corrected_because = '',
        least(1., greatest(0., (f.rate + g.specificity - 1) / (g.sensitivity + g.specificity - 1))), NULL) AS corrected_rate,
    g.found + g.left_alone - 1 AS better_than_chance,
    f.effective_n + z * z AS added_to,
    (f.effective_n * f.rate + z * z / 2) / added_to AS reported,
    (reported + g.left_alone - 1) / better_than_chance AS truth,
    truth + 2 * z * z * (truth * g.found_variance - (1 - truth) * g.left_alone_variance) AS middle,
    z / better_than_chance * sqrt(reported * (1 - reported) / added_to
        + truth * truth * g.found_variance + (1 - truth) * (1 - truth) * g.left_alone_variance) AS reach,
    if(isNull(corrected_rate), NULL, greatest(0., least(corrected_rate, middle - reach))) AS corrected_low,
    if(isNull(corrected_rate), NULL, least(1., greatest(corrected_rate, middle + reach))) AS corrected_high
FROM application_figures(window = {window:DateTime('UTC')}, metrics = {metrics:Array(String)}) AS f
LEFT JOIN golden AS g USING (judge_version, metric_type);
