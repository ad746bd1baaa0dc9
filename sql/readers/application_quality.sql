-- Coherence, relevance and accuracy by application and model: of the window, of the hour and of the day so far.
--
-- shows: window_start period provider application_id model_name metric_type n mean low high effective_n population
--   last_week_mean not_assessable failures over_budget tokens usd very_poor poor fair good excellent self_preference
--   as_of complete
-- empty without: application_metrics
-- reads: application since day - 7 days
-- kept: 90 days
-- key: customer_id provider application_id model_name metric_type judge_version period
-- types: population UInt64, tokens UInt64, usd Nullable(Decimal(18, 9))
-- table: application_quality ba1296ad
SELECT
    *,
    labels['very_poor'] AS very_poor,   -- answers so labelled
    labels['poor'] AS poor,   -- answers so labelled
    labels['fair'] AS fair,   -- answers so labelled
    labels['good'] AS good,   -- answers so labelled
    labels['excellent'] AS excellent   -- answers so labelled
FROM application_figures(window = {window:DateTime('UTC')}, metrics = ['coherence', 'relevance', 'accuracy'])
