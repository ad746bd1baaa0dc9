-- Hallucinations by application and model: of the window, of the hour and of the day so far. The rate is the share of
-- minor and major ones among what could be assessed: an answer without context or reference counts as not_assessable, not
-- as clean.
--
-- shows: window_start period provider application_id model_name n rate rate_low rate_high effective_n population
--   corrected_rate corrected_low corrected_high not_corrected_because last_week_rate none minor major
--   unsupported_claims not_assessable failures over_budget tokens usd self_preference as_of complete
-- empty without: application_metrics
-- reads: application since day - 7 days, application_golden
-- kept: 90 days
-- key: customer_id provider application_id model_name judge_version period
-- types: population UInt64, claims_checked UInt64, unsupported_claims UInt64, tokens UInt64, usd Nullable(Decimal(18,
--   9))
-- table: application_hallucinations 2ec6418e
SELECT
    *,
    labels['none'] AS none,   -- answers without any
    labels['minor'] AS minor,   -- answers with minor ones
    labels['major'] AS major,   -- answers with major ones
    top_rate AS major_rate   -- the share of answers with major ones, 0 to 1
FROM corrected_figures(window = {window:DateTime('UTC')}, metrics = ['hallucination'])
