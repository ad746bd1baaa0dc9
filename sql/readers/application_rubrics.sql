-- Scores by the customer's own rubrics, by application and model. Each rubric is a series of its own from the moment that
-- a word of it changes, as its judge_version tells.
--
-- A judged answer stands for as many interactions as its window has for one that was judged, so the mean is that of all.
-- Its interval is Wilson's with Kish's effective n in place of n, which errs on the wide side for scores between 0 and 1.
--
-- shows: window_start period provider application_id model_name rubric direction n population mean low high labels
--   not_assessable cannot_tell failures over_budget as_of complete
-- empty without: application_metrics
-- kept: 90 days
-- key: customer_id provider application_id model_name rubric judge_version period
-- types: population UInt64, labels String, rubric LowCardinality(String), direction LowCardinality(String)
WITH
1.959963984540054 AS z,
toStartOfDay({window:DateTime('UTC')}) AS today,
published AS
(
    SELECT customer_id, provider, window_start, max(b.batch) AS batch, argMax(b.status, b.batch) = 'ok' AS is_whole
    FROM metric_batches AS b
    WHERE dataset = 'application' AND status IN ('ok', 'partial')
        AND window_start >= today AND window_start <= {window:DateTime('UTC')}
    GROUP BY customer_id, provider, window_start
),
samples AS
(
    SELECT
        customer_id, provider, application_id, model_name, judge_version AS judged_by, window_start,
        sum(JSONExtractUInt(a.details, 'population')) AS all_of_it
    FROM application_metrics AS a
    LEFT SEMI JOIN published AS p USING (customer_id, provider, window_start, batch)
    WHERE a.window_start >= today AND a.window_start <= {window:DateTime('UTC')} AND metric_type = 'sample'
    GROUP BY customer_id, provider, application_id, model_name, judge_version, window_start
),
of_windows AS
(
    SELECT
        customer_id, provider, application_id, model_name, metric_type, judge_model, judge_version, window_start,
        substringIndex(judge_version, '-', 1) AS judged_by,   -- without the rubric's version
        any(a.application_name) AS name,
        any(JSONExtractString(a.details, 'direction')) AS way,
        any(p.is_whole) AS is_complete,
        count() AS chosen,
        count(a.score) AS scored,
        sum(a.score) AS scores,
        sumMap(map(a.label, 1)) AS by_label,
        chosen - by_label['judge_failed'] - by_label['over_budget'] AS answered
    FROM application_metrics AS a
    INNER JOIN published AS p USING (customer_id, provider, window_start, batch)
    WHERE a.window_start >= today AND a.window_start <= {window:DateTime('UTC')} AND startsWith(metric_type, 'rubric:')
    GROUP BY customer_id, provider, application_id, model_name, metric_type, judge_model, judge_version, window_start
),
weighted AS
(
    SELECT w.*, s.all_of_it AS all_of_it, if(answered = 0, 0, greatest(all_of_it, answered) / answered) AS weight
    FROM of_windows AS w
    LEFT JOIN samples AS s
        USING (customer_id, provider, application_id, model_name, judged_by, window_start)
),
sums AS
(
    SELECT
        period, customer_id, provider, application_id, model_name, metric_type, judge_model, judge_version,
        argMaxIf(w.name, w.window_start, w.name != '') AS application_name,
        argMax(w.way, w.window_start) AS direction,
        sum(w.all_of_it) AS population,
        sum(w.chosen) AS sampled,
        sum(w.scored) AS n,
        nullIf(sum(w.weight * w.scored), 0) AS weights,
        sum(w.weight * w.scores) AS scores,
        if(scores > weights, 1., scores / weights) AS mean,   -- not least(), which leaves nulls out
        weights * weights / sum(w.weight * w.weight * w.scored) AS effective_n,
        sumMap(w.by_label) AS by_label,
        max(w.window_start) AS as_of,
        min(w.is_complete) AS complete
    FROM weighted AS w
    ARRAY JOIN multiIf(
        w.window_start < toStartOfHour({window:DateTime('UTC')}), ['day'],
        w.window_start < {window:DateTime('UTC')}, ['hour', 'day'],
        ['window', 'hour', 'day']) AS period
    GROUP BY period, customer_id, provider, application_id, model_name, metric_type, judge_model, judge_version
),
bounded AS
(
    SELECT *, z * sqrt(mean * (1 - mean) * effective_n + z * z / 4) AS reach
    FROM sums
)
SELECT
    period,   -- the window, the hour so far, or the day so far
    customer_id,
    provider,
    application_id,
    application_name,
    model_name,
    substring(metric_type, 8) AS rubric,   -- its name in the customers file
    direction,   -- higher_is_better or higher_is_worse
    judge_model,
    judge_version,   -- that of the judge, and behind it the rubric's own
    population,
    sampled,
    n,   -- how many answers have a score
    effective_n,   -- as many equally weighted scores would tell as much
    mean,   -- the mean score, 0 to 1
    if(isNull(mean), NULL, greatest(0., (mean * effective_n + z * z / 2 - reach) / (effective_n + z * z))) AS low,
    if(isNull(mean), NULL, least(1., (mean * effective_n + z * z / 2 + reach) / (effective_n + z * z))) AS high,
    toJSONString(by_label) AS labels,   -- answers by the rubric's answer, a JSON object
    by_label['not_assessable'] AS not_assessable,   -- answers that lack what the rubric needs
    by_label['cannot_tell'] AS cannot_tell,   -- answers of which the judge could not tell it
    by_label['judge_failed'] AS failures,
    by_label['over_budget'] AS over_budget,
    as_of,
    complete
FROM bounded
