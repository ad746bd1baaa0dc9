-- One row per application and model with the means of all five metrics: of the window, of the hour and of the
-- day so far.
--
-- shows: window_start period provider application_id model_name judged coherence relevance accuracy hallucination
--   toxicity hallucination_rate toxicity_rate effective_n population not_assessable failures over_budget tokens usd
--   self_preference as_of complete
-- empty without: application_metrics
-- reads: application since day - 7 days
-- kept: 90 days
-- key: customer_id provider application_id model_name judge_version period
-- types: population UInt64, judged UInt32, tokens UInt64, usd Nullable(Decimal(18, 9)), worse String
-- table: application_summary 76900a3e
SELECT
    period,
    customer_id,
    provider,
    application_id,
    any(f.application_name) AS application_name,
    model_name,
    judge_model,
    judge_version,
    any(f.population) AS population,
    any(f.sampled) AS sampled,
    any(f.sampled - f.failures - f.over_budget) AS judged,
    max(f.effective_n) AS effective_n,   -- judged, less what it takes that they stand for different numbers of interactions
    anyIf(f.mean, metric_type = 'coherence') AS coherence,
    anyIf(f.low, metric_type = 'coherence') AS coherence_low,   -- the lower end of its 95 % interval
    anyIf(f.high, metric_type = 'coherence') AS coherence_high,   -- the upper end of its 95 % interval
    anyIf(f.mean, metric_type = 'relevance') AS relevance,   -- the mean score, 0 to 1
    anyIf(f.low, metric_type = 'relevance') AS relevance_low,   -- the lower end of its 95 % interval
    anyIf(f.high, metric_type = 'relevance') AS relevance_high,   -- the upper end of its 95 % interval
    anyIf(f.mean, metric_type = 'accuracy') AS accuracy,   -- the mean score, 0 to 1
    anyIf(f.low, metric_type = 'accuracy') AS accuracy_low,   -- the lower end of its 95 % interval
    anyIf(f.high, metric_type = 'accuracy') AS accuracy_high,   -- the upper end of its 95 % interval
    anyIf(f.mean, metric_type = 'hallucination') AS hallucination,   -- the mean score, 0 to 1
    anyIf(f.low, metric_type = 'hallucination') AS hallucination_low,   -- the lower end of its 95 % interval
    anyIf(f.high, metric_type = 'hallucination') AS hallucination_high,   -- the upper end of its 95 % interval
    anyIf(f.mean, metric_type = 'toxicity') AS toxicity,   -- the mean score, 0 to 1
    anyIf(f.low, metric_type = 'toxicity') AS toxicity_low,   -- the lower end of its 95 % interval
    anyIf(f.high, metric_type = 'toxicity') AS toxicity_high,   -- the upper end of its 95 % interval
    anyIf(f.rate, metric_type = 'hallucination') AS hallucination_rate,
    anyIf(f.rate, metric_type = 'toxicity') AS toxicity_rate,
    anyIf(f.not_assessable, metric_type = 'hallucination') AS not_assessable,
    any(f.failures) AS failures,
    any(f.over_budget) AS over_budget,
    any(f.tokens) AS tokens,
    any(f.usd) AS usd,
    any(f.self_preference) AS self_preference,
    CAST(NULL AS Nullable(Bool)) AS worse_than_last_week,   -- always null: application/alarms has the verdict
    '' AS worse,   -- always empty: application/alarms has the verdict
    any(f.as_of) AS as_of,
    any(f.complete) AS complete
FROM application_figures(
    window = {window:DateTime('UTC')},
    metrics = ['coherence', 'relevance', 'accuracy', 'hallucination', 'toxicity']) AS f
GROUP BY period, customer_id, provider, application_id, model_name, judge_model, judge_version
