-- The scores of a day by the hour, of each application, model, metric and version of the judge: what the alarms compare.
-- `window` is the day.
--
-- A text that repeats counts once a day: prompt and response of the same hash are one observation, in the hour in which
-- it came first, with the mean of its scores and weights. A weight is how many interactions an answer stands for: those
-- of its window and model by how many of them the judge answered on. Where no sample says how many there were it is 1.
--
-- Of hallucination and toxicity the observation is whether there is any; of the other metrics it is the score.
--
-- shows: window_start provider application_id model_name metric_type scores observations mean is_rate higher_is_worse
--   judge_version as_of complete
-- if empty: nothing was judged on the day
-- empty without: application_metrics
-- covers: 1 day
-- also computes: stale_application_days
-- reads: application
-- kept: 120 days
-- key: customer_id provider application_id model_name metric_type judge_version
WITH
{window:DateTime('UTC')} AS day,
published AS
(
    SELECT customer_id, provider, window_start, max(b.batch) AS batch, argMax(b.status, b.batch) = 'ok' AS complete
    FROM metric_batches AS b
    WHERE dataset = 'application' AND status IN ('ok', 'partial')
        AND window_start >= day AND window_start < day + INTERVAL 1 DAY
    GROUP BY customer_id, provider, window_start
),
populations AS
(
    SELECT customer_id, provider, window_start, application_id, model_name, max(a.population) AS population
    FROM application_metrics AS a
    INNER JOIN published AS p USING (customer_id, provider, window_start, batch)
    WHERE window_start >= day AND window_start < day + INTERVAL 1 DAY AND metric_type = 'sample'
    GROUP BY customer_id, provider, window_start, application_id, model_name
),
answers AS
(
    SELECT
        a.customer_id AS customer_id,
        a.provider AS provider,
        a.application_id AS application_id,
        a.application_name AS application_name,
        a.model_name AS model_name,
        a.metric_type AS metric_type,
        a.judge_model AS judge_model,
        a.judge_version AS judge_version,
        a.window_start AS window_start,
        a.score AS score,
        p.complete AS complete,
        metric_type IN ('hallucination', 'toxicity') AS is_rate,
        JSONExtractString(a.details, 'direction') AS direction,
        concat(JSONExtractString(a.details, 'prompt_hash'), '/', JSONExtractString(a.details, 'response_hash')) AS hashes,
        if(hashes = '/', a.interaction_id, hashes) AS text,
        countIf(a.label NOT IN ('judge_failed', 'over_budget')) OVER (PARTITION BY a.customer_id, a.provider,
            a.window_start, a.application_id, a.model_name, a.metric_type, a.judge_version) AS answered
    FROM application_metrics AS a
    INNER JOIN published AS p USING (customer_id, provider, window_start, batch)
    WHERE a.window_start >= day AND a.window_start < day + INTERVAL 1 DAY
        AND a.metric_type NOT IN ('sample', 'source') AND direction != ''
),
observed AS
(
    SELECT
        customer_id,
        provider,
        application_id,
        model_name,
        metric_type,
        judge_version,
        s.text AS text,
        any(s.is_rate) AS is_rate,
        max(s.direction = 'higher_is_worse') AS higher_is_worse,
        max(s.application_name) AS application_name,
        max(s.judge_model) AS judge_model,
        toHour(min(s.window_start), 'UTC') AS hour,
        max(s.window_start) AS as_of,
        min(s.complete) AS complete,
        count() AS scores,
        avg(if(s.is_rate, toFloat64(s.score > 0), s.score)) AS value,
        avg(greatest(p.population, s.answered) / s.answered) AS weight
    FROM answers AS s
    LEFT JOIN populations AS p USING (customer_id, provider, window_start, application_id, model_name)
    WHERE isNotNull(s.score)
    GROUP BY customer_id, provider, application_id, model_name, metric_type, judge_version, text
),
hours AS
(
    SELECT
        customer_id,
        provider,
        application_id,
        model_name,
        metric_type,
        judge_version,
        hour,
        any(o.is_rate) AS is_rate,
        max(o.higher_is_worse) AS higher_is_worse,
        max(o.application_name) AS application_name,
        max(o.judge_model) AS judge_model,
        max(o.as_of) AS as_of,
        min(o.complete) AS complete,
        sum(o.scores) AS scores,
        count() AS observations,
        sum(o.weight) AS weight,
        sum(pow(o.weight, 2)) AS weight_squares,
        sum(o.weight * o.value) AS first,
        sum(o.weight * pow(o.value, 2)) AS second,
        sum(o.weight * pow(o.value, 3)) AS third
    FROM observed AS o
    GROUP BY customer_id, provider, application_id, model_name, metric_type, judge_version, hour
)
SELECT
    customer_id,
    provider,
    application_id,
    max(h.application_name) AS application_name,
    model_name,
    metric_type,
    max(h.judge_model) AS judge_model,
    judge_version,
    any(h.is_rate) AS is_rate,   -- the observation is whether there is any, not how much
    max(h.higher_is_worse) AS higher_is_worse,
    sum(h.scores) AS scores,
    sum(h.observations) AS observations,   -- a text that repeats counts once
    sum(h.first) / sum(h.weight) AS mean,   -- weighted by what each observation stands for; of a rate, the share
    groupArrayInsertAt(0., 24)(h.weight, h.hour) AS weights,   -- by hour of the day (UTC), as the four that follow
    groupArrayInsertAt(0., 24)(h.weight_squares, h.hour) AS weight_squares,
    groupArrayInsertAt(0., 24)(h.first, h.hour) AS first_powers,   -- the sum of weight * value
    groupArrayInsertAt(0., 24)(h.second, h.hour) AS second_powers,   -- the sum of weight * value^2
    groupArrayInsertAt(0., 24)(h.third, h.hour) AS third_powers,   -- the sum of weight * value^3
    max(h.as_of) AS as_of,
    min(h.complete) AS complete
FROM hours AS h
GROUP BY customer_id, provider, application_id, model_name, metric_type, judge_version
