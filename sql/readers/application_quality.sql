-- Coherence, relevance and accuracy by application and model: of the window, and of the day so far.
--
-- shows: window_start period provider application_id model_name metric_type n population mean low high
--   worse_than_last_week last_week_mean not_assessable failures over_budget tokens usd very_poor poor fair good
--   excellent self_preference as_of complete
SELECT
    *,
    labels['very_poor'] AS very_poor,
    labels['poor'] AS poor,
    labels['fair'] AS fair,
    labels['good'] AS good,
    labels['excellent'] AS excellent
FROM application_figures(window = {window:DateTime('UTC')}, metrics = ['coherence', 'relevance', 'accuracy'])
