-- One row per application and model with the means of all five metrics: of the window, and of the day so far. Taken from
-- what the readers quality, hallucinations and toxicity published of the same window, so that the figures are theirs.
WITH metrics AS
(
    SELECT
        period, customer_id, provider, application_id, application_name, model_name, judge_model, judge_version,
        population, sampled, failures, over_budget, tokens, usd, self_preference, as_of, complete,
        toString(metric_type) AS metric, mean, low, high, NULL AS rate, 0 AS not_assessable, worse_than_last_week AS is_worse
    FROM application_quality_current
    WHERE window_start = {window:DateTime('UTC')}
    UNION ALL
    SELECT
        period, customer_id, provider, application_id, application_name, model_name, judge_model, judge_version,
        population, sampled, failures, over_budget, tokens, usd, self_preference, as_of, complete,
        'hallucination' AS metric, mean, low, high, rate AS rate, not_assessable AS not_assessable, worse_than_last_week AS is_worse
    FROM application_hallucinations_current
    WHERE window_start = {window:DateTime('UTC')}
    UNION ALL
    SELECT
        period, customer_id, provider, application_id, application_name, model_name, judge_model, judge_version,
        population, sampled, failures, over_budget, tokens, usd, self_preference, as_of, complete,
        'toxicity' AS metric, mean, low, high, rate AS rate, 0 AS not_assessable, worse_than_last_week AS is_worse
    FROM application_toxicity_current
    WHERE window_start = {window:DateTime('UTC')}
)
SELECT
    period,
    customer_id,
    provider,
    application_id,
    any(m.application_name) AS application_name,
    model_name,
    judge_model,
    judge_version,
    any(m.population) AS population,
    any(m.sampled) AS sampled,
    any(m.sampled - m.failures - m.over_budget) AS judged,
    anyIf(m.mean, metric = 'coherence') AS coherence,
    anyIf(m.low, metric = 'coherence') AS coherence_low,
    anyIf(m.high, metric = 'coherence') AS coherence_high,
    anyIf(m.mean, metric = 'relevance') AS relevance,
    anyIf(m.low, metric = 'relevance') AS relevance_low,
    anyIf(m.high, metric = 'relevance') AS relevance_high,
    anyIf(m.mean, metric = 'accuracy') AS accuracy,
    anyIf(m.low, metric = 'accuracy') AS accuracy_low,
    anyIf(m.high, metric = 'accuracy') AS accuracy_high,
    anyIf(m.mean, metric = 'hallucination') AS hallucination,
    anyIf(m.low, metric = 'hallucination') AS hallucination_low,
    anyIf(m.high, metric = 'hallucination') AS hallucination_high,
    anyIf(m.mean, metric = 'toxicity') AS toxicity,
    anyIf(m.low, metric = 'toxicity') AS toxicity_low,
    anyIf(m.high, metric = 'toxicity') AS toxicity_high,
    anyIf(m.rate, metric = 'hallucination') AS hallucination_rate,
    anyIf(m.rate, metric = 'toxicity') AS toxicity_rate,
    sum(m.not_assessable) AS not_assessable,
    any(m.failures) AS failures,
    any(m.over_budget) AS over_budget,
    any(m.tokens) AS tokens,
    any(m.usd) AS usd,
    any(m.self_preference) AS self_preference,
    max(m.is_worse) AS worse_than_last_week,
    arrayStringConcat(arraySort(groupArrayIf(metric, m.is_worse)), ', ') AS worse,
    any(m.as_of) AS as_of,
    any(m.complete) AS complete
FROM metrics AS m
GROUP BY period, customer_id, provider, application_id, model_name, judge_model, judge_version
