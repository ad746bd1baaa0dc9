-- Coherence, relevance and accuracy by application and model: of the window, and of the day so far.
SELECT
    *,
    labels['very_poor'] AS very_poor,
    labels['poor'] AS poor,
    labels['fair'] AS fair,
    labels['good'] AS good,
    labels['excellent'] AS excellent
FROM application_figures(window = {window:DateTime('UTC')}, metrics = ['coherence', 'relevance', 'accuracy'])
