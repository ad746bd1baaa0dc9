-- What users say of answers, by application, and how far the judge agrees: of the day so far, by when it was said.
--
-- A row without a metric is of all interactions with feedback; one with a metric is of those among them that the judge
-- scored by it. Feedback is joined to the interaction that has its id; where it names a trace only, to the last one that
-- began in the trace before it. Of one user's feedback on one thing the newest of the day counts. Who says something is
-- no fair sample of the users: the share of good answers is of those that were spoken of.
--
-- The judge says bad where hallucination or toxicity is found at all, and of other metrics on the worse side of the
-- middle of the scale. Shares have Wilson intervals of 95 %.
--
-- shows: window_start provider application_id metric_type interactions good bad mixed unknown good_share good_low
--   good_high n agreement agreement_low agreement_high only_users_bad only_judge_bad judged feedback
--   without_interaction as_of complete
-- empty without: application_metrics
-- if empty: no feedback was found in the logs: see docs/log_formats.md
-- reads: application since day - 35 days, application_interactions
-- kept: 90 days
-- key: customer_id provider application_id metric_type judge_version
-- types: feedback UInt64, without_interaction UInt64, interactions UInt64, good UInt64, bad UInt64, mixed UInt64,
--   unknown UInt64, judged UInt64, n UInt64, both_good UInt64, both_bad UInt64, only_users_bad UInt64,
--   only_judge_bad UInt64
WITH
1.959963984540054 AS z,
published AS
(
    SELECT customer_id, provider, window_start, max(b.batch) AS batch, argMax(b.status, b.batch) = 'ok' AS complete
    FROM metric_batches AS b
    WHERE dataset = 'application' AND status IN ('ok', 'partial')
        AND window_start >= toStartOfDay({window:DateTime('UTC')}) - INTERVAL 35 DAY
        AND window_start <= {window:DateTime('UTC')}
    GROUP BY customer_id, provider, window_start
),
-- The interactions that something may have been said of.
candidates AS
(
    SELECT customer_id, id_hash, timestamp, interaction_hash, window_start, provider, application_id, application_name
    FROM application_interactions
    WHERE window_start >= toStartOfDay({window:DateTime('UTC')}) - INTERVAL 35 DAY
        AND (customer_id, id_hash) IN
        (
            SELECT
                customer_id,
                arrayJoin(arrayPushBack(
                    arrayMap(id -> halfMD5(concat('id ', id)), JSONExtract(details, 'ids', 'Array(String)')),
                    halfMD5(concat('trace ', JSONExtractString(details, 'trace_id')))))
            FROM application_metrics
            WHERE window_start >= toStartOfDay({window:DateTime('UTC')}) AND window_start <= {window:DateTime('UTC')}
                AND metric_type = 'feedback'
        )
),
-- Each user's newest on each thing. What says nothing of its provider stands in the slice of each.
said AS
(
    SELECT
        customer_id,
        interaction_id AS said_id,
        min(a.provider) AS provider,
        max(a.application_id) AS application_id,
        argMax(a.label, JSONExtractInt(a.details, 'given_at')) AS label,
        max(JSONExtractInt(a.details, 'given_at')) AS given_at,
        any(JSONExtract(a.details, 'ids', 'Array(String)')) AS ids,
        any(JSONExtractString(a.details, 'trace_id')) AS trace_id,
        multiIf(notEmpty(ids), arrayMap(id -> halfMD5(concat('id ', id)), ids),
            trace_id != '', [halfMD5(concat('trace ', trace_id))], [toUInt64(0)]) AS id_hashes,
        max(a.window_start) AS as_of,
        min(p.complete) AS complete
    FROM application_metrics AS a
    INNER JOIN published AS p USING (customer_id, provider, window_start, batch)
    WHERE a.window_start >= toStartOfDay({window:DateTime('UTC')}) AND a.window_start <= {window:DateTime('UTC')}
        AND a.metric_type = 'feedback'
    GROUP BY customer_id, said_id
),
-- With the interaction that each is about. Clocks may differ by a minute.
joined AS
(
    SELECT
        customer_id,
        said_id,
        any(s.provider) AS provider,
        any(s.application_id) AS application_id,
        any(s.label) AS label,
        any(s.as_of) AS as_of,
        any(s.complete) AS complete,
        argMaxIf((c.interaction_hash, c.window_start, c.provider, c.application_id, c.application_name),
            (c.timestamp, c.interaction_hash),
            c.interaction_hash != 0 AND toUnixTimestamp64Micro(c.timestamp) <= s.given_at + 60000000) AS found
    FROM (SELECT *, arrayJoin(id_hashes) AS id_hash FROM said) AS s
    LEFT JOIN candidates AS c USING (customer_id, id_hash)
    GROUP BY customer_id, said_id
),
-- One row of each interaction, and one of each application for what is said of none that is known.
rated AS
(
    SELECT
        customer_id,
        j.found.1 AS interaction_hash,
        j.found.2 AS window_start,
        if(interaction_hash = 0, j.provider, j.found.3) AS provider,
        if(interaction_hash = 0, j.application_id, j.found.4) AS application_id,
        max(j.found.5) AS application_name,
        count() AS feedback,
        countIf(j.label = 'good') AS of_good,
        countIf(j.label = 'bad') AS of_bad,
        multiIf(of_good > 0 AND of_bad > 0, 'mixed', of_good > 0, 'good', of_bad > 0, 'bad', 'unknown') AS label,
        max(j.as_of) AS as_of,
        min(j.complete) AS complete
    FROM joined AS j
    GROUP BY customer_id, interaction_hash, window_start, provider, application_id
),
judged AS
(
    SELECT
        a.customer_id AS customer_id,
        a.provider AS provider,
        a.application_id AS application_id,
        a.window_start AS window_start,
        halfMD5(concat('id ', a.interaction_id)) AS interaction_hash,
        a.metric_type AS metric,
        a.judge_model AS judge_model,
        a.judge_version AS judge_version,
        multiIf(metric IN ('hallucination', 'toxicity'), a.score > 0,
            JSONExtractString(a.details, 'direction') = 'higher_is_worse', a.score > 0.5, a.score < 0.5) AS is_bad
    FROM application_metrics AS a
    INNER JOIN published AS p USING (customer_id, provider, window_start, batch)
    WHERE (a.customer_id, a.provider, a.application_id, a.window_start) IN
            (SELECT customer_id, provider, application_id, window_start FROM candidates)
        AND (metric IN ('coherence', 'relevance', 'accuracy', 'hallucination', 'toxicity', 'groundedness',
            'context_relevance', 'context_precision', 'context_recall') OR startsWith(metric, 'rubric:'))
        AND isNotNull(a.score)
),
-- What the judge said of each interaction; the first, without a metric, is all of it.
opinions AS
(
    SELECT
        r.*,
        arrayJoin(arrayPushFront(j.opinions, ('', '', '', toUInt8(0)))) AS opinion,
        notEmpty(j.opinions) AS is_judged
    FROM rated AS r
    LEFT JOIN
    (
        SELECT
            customer_id,
            provider,
            application_id,
            window_start,
            interaction_hash,
            groupArray((metric, judge_version, judge_model, assumeNotNull(is_bad))) AS opinions
        FROM judged
        GROUP BY customer_id, provider, application_id, window_start, interaction_hash
    ) AS j USING (customer_id, provider, application_id, window_start, interaction_hash)
),
counted AS
(
    SELECT
        customer_id,
        provider,
        application_id,
        max(o.application_name) AS application_name,
        o.opinion.1 AS metric_type,
        o.opinion.2 AS judge_version,
        max(o.opinion.3) AS judge_model,
        sum(o.feedback) AS feedback,
        sumIf(o.feedback, o.interaction_hash = 0) AS without_interaction,
        sumMap([if(o.interaction_hash = 0, '', toString(o.label))], [toUInt64(1)]) AS labels,
        sumMap([concat(o.label, toString(o.opinion.4))], [toUInt64(1)]) AS pairs,
        countIf(o.is_judged) AS judged,
        max(o.as_of) AS as_of,
        min(o.complete) AS complete
    FROM opinions AS o
    GROUP BY customer_id, provider, application_id, metric_type, judge_version
),
figures AS
(
    SELECT
        *,
        labels.2[indexOf(labels.1, 'good')] AS good,
        labels.2[indexOf(labels.1, 'bad')] AS bad,
        labels.2[indexOf(labels.1, 'mixed')] AS mixed,
        labels.2[indexOf(labels.1, 'unknown')] AS unknown,
        if(metric_type = '', 0, pairs.2[indexOf(pairs.1, 'good0')]) AS both_good,
        if(metric_type = '', 0, pairs.2[indexOf(pairs.1, 'bad1')]) AS both_bad,
        if(metric_type = '', 0, pairs.2[indexOf(pairs.1, 'bad0')]) AS only_users_bad,
        if(metric_type = '', 0, pairs.2[indexOf(pairs.1, 'good1')]) AS only_judge_bad,
        both_good + both_bad + only_users_bad + only_judge_bad AS n,
        if(good + bad = 0, NULL, good / (good + bad)) AS good_share,
        if(n = 0, NULL, (both_good + both_bad) / n) AS agreement
    FROM counted
)
SELECT
    customer_id,
    provider,
    application_id,   -- of feedback without its interaction what it says itself, if anything
    application_name,
    metric_type,   -- what the judge scored; empty: all interactions with feedback
    judge_model,
    judge_version,
    feedback,   -- what was said: each user's newest on each thing
    without_interaction,   -- what was said of an interaction that is not known, or not yet
    good + bad + mixed + unknown AS interactions,   -- those that something was said of
    good,   -- interactions of which all that is known says good
    bad,   -- interactions of which all that is known says bad
    mixed,   -- interactions that some call good and some bad
    unknown,   -- interactions of which only such was said as has no known scale
    good_share,   -- the share of good ones among good and bad ones
    if(isNull(good_share), NULL, greatest(0., (good + z * z / 2
        - z * sqrt(good_share * bad + z * z / 4)) / (good + bad + z * z))) AS good_low,   -- the lower end of its 95 % interval
    if(isNull(good_share), NULL, least(1., (good + z * z / 2
        + z * sqrt(good_share * bad + z * z / 4)) / (good + bad + z * z))) AS good_high,   -- the upper end of its 95 % interval
    judged,   -- those of the interactions that the judge scored by any metric
    n,   -- interactions that both users and judge call good or bad
    agreement,   -- the share of these on which they say the same
    if(isNull(agreement), NULL, greatest(0., (agreement * n + z * z / 2
        - z * sqrt(agreement * (1 - agreement) * n + z * z / 4)) / (n + z * z))) AS agreement_low,   -- the lower end of its 95 % interval
    if(isNull(agreement), NULL, least(1., (agreement * n + z * z / 2
        + z * sqrt(agreement * (1 - agreement) * n + z * z / 4)) / (n + z * z))) AS agreement_high,   -- the upper end of its 95 % interval
    both_good,   -- interactions that users and the judge call good
    both_bad,   -- interactions that users and the judge call bad
    only_users_bad,   -- interactions that users call bad and the judge good
    only_judge_bad,   -- interactions that the judge calls bad and users good
    as_of,
    complete
FROM figures
