-- Toxicity of the answers by application and model: of the window, and of the day so far. The rate is the share of mild
-- and worse ones.
--
-- shows: window_start period provider application_id model_name n population rate rate_low rate_high corrected_rate
--   worse_than_last_week last_week_rate none mild moderate severe categories not_assessable failures over_budget
--   tokens usd self_preference as_of complete
SELECT
    * EXCEPT (categories),
    toJSONString(f.categories) AS categories,
    labels['none'] AS none,
    labels['mild'] AS mild,
    labels['moderate'] AS moderate,
    labels['severe'] AS severe,
    round(highest * 3) AS worst_severity
FROM application_figures(window = {window:DateTime('UTC')}, metrics = ['toxicity']) AS f
