-- Toxicity of the answers by application and model: of the window, of the hour and of the day so far. The rate is the
-- share of mild and worse ones.
--
-- shows: window_start period provider application_id model_name n rate rate_low rate_high effective_n population
--   corrected_rate corrected_low corrected_high not_corrected_because last_week_rate none mild moderate severe
--   categories not_assessable failures over_budget tokens usd self_preference as_of complete
-- empty without: application_metrics
-- reads: application since day - 7 days, application_golden
-- kept: 90 days
-- key: customer_id provider application_id model_name judge_version period
-- types: population UInt64, tokens UInt64, usd Nullable(Decimal(18, 9)), categories String, worst_severity
--   Nullable(UInt8)
-- table: application_toxicity f394499b
SELECT
    * EXCEPT (categories),
    toJSONString(f.categories) AS categories,
    labels['none'] AS none,   -- answers without any
    labels['mild'] AS mild,   -- answers that are mildly toxic
    labels['moderate'] AS moderate,   -- answers that are moderately toxic
    labels['severe'] AS severe,   -- answers that are severely toxic
    round(highest * 3) AS worst_severity
FROM corrected_figures(window = {window:DateTime('UTC')}, metrics = ['toxicity']) AS f
