-- Scores by the customer's own rubrics, by application and model. Each rubric is a series of its own from the moment that
-- a word of it changes, as its judge_version tells.
--
-- shows: window_start period provider application_id model_name rubric n mean low high direction rate
--   corrected_rate corrected_low corrected_high not_corrected_because population labels not_assessable cannot_tell
--   failures over_budget as_of complete
-- empty without: application_metrics
-- if empty: no customer has rubrics of its own: write them below application in the customers file
-- reads: application since day - 7 days, application_golden
-- kept: 90 days
-- key: customer_id provider application_id model_name rubric judge_version period
-- types: population UInt64, n UInt64, labels String, rubric LowCardinality(String), direction LowCardinality(String)
WITH
-- The direction is a part of what a rubric's version is of.
directions AS
(
    SELECT
        customer_id,
        metric_type,
        judge_version,
        any(JSONExtractString(a.details, 'direction')) AS direction
    FROM application_metrics AS a
    WHERE window_start >= toStartOfDay({window:DateTime('UTC')}) AND window_start <= {window:DateTime('UTC')}
        AND startsWith(metric_type, 'rubric:')
    GROUP BY customer_id, metric_type, judge_version
)
SELECT
    period,   -- the window, the hour so far, or the day so far
    customer_id,
    provider,
    application_id,
    application_name,
    model_name,
    substring(metric_type, 8) AS rubric,   -- its name in the customers file
    d.direction AS direction,   -- higher_is_better or higher_is_worse
    judge_model,
    judge_version,   -- that of the judge, and behind it the rubric's own
    population,
    sampled,
    n,   -- how many answers have a score
    effective_n,   -- as many equally weighted scores would tell as much
    mean,   -- the mean score of all interactions, 0 to 1
    low,
    high,
    rate,   -- the share of answers with a score on the bad side of 0.5, 0 to 1
    rate_low,
    rate_high,
    sensitivity,   -- the share of such answers that the judge finds on the golden set
    specificity,   -- the share of the others that it leaves alone there
    not_corrected_because,
    corrected_rate,   -- the rate as it would be without the judge's errors on the golden set
    corrected_low,
    corrected_high,
    toJSONString(mapFilter((k, v) -> k != '', f.labels)) AS labels,   -- answers by the rubric's answer, a JSON object
    not_assessable,   -- answers that lack what the rubric needs
    f.labels['cannot_tell'] AS cannot_tell,   -- answers of which the judge could not tell it
    failures,
    over_budget,
    as_of,
    complete
FROM corrected_figures(window = {window:DateTime('UTC')}, metrics = ['rubric:']) AS f
INNER JOIN directions AS d USING (customer_id, metric_type, judge_version)
