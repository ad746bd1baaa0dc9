-- How well answers keep to what the application found, and how well it found it, by application and model. Each is from 0
-- to 1, and higher is better.
--
-- groundedness: the share of an answer's claims that the context or a reference supports. context_relevance: how much of
-- the chunks is of use for the prompt. context_precision: whether those that are come first. context_recall: the share of
-- a reference's facts that the context holds.
--
-- shows: window_start period provider application_id model_name metric_type n mean low high population
--   not_assessable cannot_tell failures over_budget claims_checked unsupported_claims as_of complete
-- empty without: application_metrics
-- reads: application since day - 7 days
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
FROM application_figures(
    window = {window:DateTime('UTC')},
    metrics = ['groundedness', 'context_relevance', 'context_precision', 'context_recall'])
