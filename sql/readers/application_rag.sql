-- How well answers keep to what the application found, and how well it found it, by application and model. Each is from 0
-- to 1, and higher is better.
--
-- groundedness: the share of an answer's claims that the context or a reference supports. context_relevance: how much of
-- the chunks is of use for the prompt. context_precision: whether those that are come first. context_recall: the share of
-- a reference's facts that the context holds.
--
-- shows: window_start period provider application_id model_name metric_type n mean low high rate corrected_rate
--   corrected_low corrected_high not_corrected_because population not_assessable cannot_tell failures over_budget
--   claims_checked unsupported_claims as_of complete
-- empty without: application_metrics
-- reads: application since day - 7 days, application_golden
-- kept: 90 days
-- key: customer_id provider application_id model_name metric_type judge_version period
-- types: population UInt64, claims_checked UInt64, unsupported_claims UInt64
SELECT
    period,   -- the window, the hour so far, or the day so far
    customer_id,
    provider,
    application_id,
    application_name,
    model_name,
    metric_type,   -- groundedness, context_relevance, context_precision or context_recall
    judge_model,
    judge_version,
    population,
    sampled,
    n,   -- how many answers have a score
    mean,   -- the mean score, 0 to 1; higher is better
    low,
    high,
    rate,   -- the share of answers with a score below 0.5, 0 to 1
    rate_low,
    rate_high,
    sensitivity,   -- the share of such answers that the judge finds on the golden set
    specificity,   -- the share of the others that it leaves alone there
    not_corrected_because,
    corrected_rate,   -- the rate as it would be without the judge's errors on the golden set
    corrected_low,
    corrected_high,
    labels['all'] AS perfect,   -- answers with the score 1
    labels['none'] AS nothing,   -- answers with the score 0
    not_assessable,   -- answers without context, or without a reference for context_recall, or that state no fact
    labels['cannot_tell'] AS cannot_tell,   -- answers of which the judge could not tell it
    failures,
    over_budget,
    claims_checked,
    unsupported_claims,   -- of these, how many are unsupported or contradicted
    as_of,
    complete
FROM corrected_figures(
    window = {window:DateTime('UTC')},
    metrics = ['groundedness', 'context_relevance', 'context_precision', 'context_recall'])
