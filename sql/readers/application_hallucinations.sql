-- Hallucinations by application and model: of the window, and of the day so far. The rate is the share of minor and major
-- ones among what could be assessed: an answer without context or reference counts as not_assessable, not as clean.
--
-- shows: window_start period provider application_id model_name n population rate rate_low rate_high corrected_rate
--   worse_than_last_week last_week_rate none minor major unsupported_claims not_assessable failures over_budget tokens
--   usd self_preference as_of complete
SELECT
    *,
    labels['none'] AS none,
    labels['minor'] AS minor,
    labels['major'] AS major,
    major / nullIf(n, 0) AS major_rate
FROM application_figures(window = {window:DateTime('UTC')}, metrics = ['hallucination'])
