-- How far the second judge agrees with the first, by application and metric: of the window, and of the day so far.
--
-- Kappa is Cohen's with quadratic weights: 1 is agreement, 0 what chance gives. Its 95 % interval is by the delta method
-- on the moments of the pairs of scores. The share of equal scores has a Wilson interval.
--
-- shows: window_start period provider application_id metric_type n kappa kappa_low kappa_high agreement agreement_low
--   agreement_high first_mean second_mean failures judge_model second_model as_of complete
-- empty without: application_metrics
-- if empty: there is no second judge: set OPTIINFRA_SECOND_JUDGE_MODEL
-- reads: application since day
-- kept: 90 days
-- key: customer_id provider application_id metric_type judge_version second_version period
-- types: n UInt32, failures UInt32
WITH
1.959963984540054 AS z,
published AS
(
    SELECT customer_id, provider, window_start, max(b.batch) AS batch, argMax(b.status, b.batch) = 'ok' AS complete
    FROM metric_batches AS b
    WHERE dataset = 'application' AND status IN ('ok', 'partial')
        AND window_start >= toStartOfDay({window:DateTime('UTC')}) AND window_start <= {window:DateTime('UTC')}
    GROUP BY customer_id, provider, window_start
),
judged AS
(
    SELECT
        if(a.window_start = {window:DateTime('UTC')}, ['window', 'day'], ['day']) AS periods,
        a.customer_id AS customer_id,
        a.provider AS provider,
        a.application_id AS application_id,
        a.application_name AS application_name,
        substring(a.metric_type, length('second:') + 1) AS metric,
        a.judge_model AS by_second,
        a.judge_version AS by_second_version,
        JSONExtractString(a.details, 'first_model') AS by_first,
        JSONExtractString(a.details, 'first_version') AS by_first_version,
        JSONExtract(a.details, 'first', 'Nullable(Float64)') AS first,
        a.score AS second,
        a.label = 'judge_failed' AS is_failure,
        a.window_start AS window_start,
        p.complete AS complete
    FROM application_metrics AS a
    INNER JOIN published AS p USING (customer_id, provider, window_start, batch)
    WHERE a.window_start >= toStartOfDay({window:DateTime('UTC')}) AND a.window_start <= {window:DateTime('UTC')}
        AND startsWith(a.metric_type, 'second:')
),
pairs AS
(
    SELECT
        period,
        customer_id,
        provider,
        application_id,
        argMaxIf(j.application_name, j.window_start, j.application_name != '') AS application_name,
        metric AS metric_type,
        by_first AS judge_model,
        by_first_version AS judge_version,
        by_second AS second_model,
        by_second_version AS second_version,
        groupArrayIf((ifNull(j.first, 0), ifNull(j.second, 0)), isNotNull(j.first) AND isNotNull(j.second)) AS scores,
        countIf(j.is_failure) AS failures,
        max(j.window_start) AS as_of,
        min(j.complete) AS complete
    FROM judged AS j
    ARRAY JOIN j.periods AS period
    GROUP BY period, customer_id, provider, application_id, metric, by_first, by_first_version, by_second, by_second_version
),
moments AS
(
    SELECT
        *,
        length(scores) AS pairs,
        if(pairs = 0, NULL, arrayAvg(s -> s.1, scores)) AS first_mean,
        if(pairs = 0, NULL, arrayAvg(s -> s.2, scores)) AS second_mean,
        ifNull(first_mean, 0) AS x,
        ifNull(second_mean, 0) AS y,
        arrayMap(s -> pow(s.1 - s.2, 2), scores) AS apart,
        arrayMap(s -> pow(s.1, 2) + pow(s.2, 2) - 2 * y * s.1 - 2 * x * s.2 + 2 * x * y, scores) AS by_chance,
        if(pairs = 0, 0, arrayAvg(apart)) AS mean_apart,
        if(pairs = 0, 0, arrayAvg(by_chance)) AS mean_by_chance,
        if(mean_by_chance > 1e-12, 1 - mean_apart / mean_by_chance, NULL) AS kappa,
        arrayAvg((a, c) -> pow((mean_apart * c / mean_by_chance - a) / mean_by_chance, 2), apart, by_chance) AS spread,
        if(pairs > 1 AND mean_apart > 0, z * sqrt(spread / (pairs - 1)), NULL) AS half,
        if(pairs = 0, NULL, arrayCount(a -> a < 1e-12, apart) / pairs) AS share
    FROM pairs
)
SELECT
    period,   -- window | day so far, this window included
    customer_id,
    provider,
    application_id,
    application_name,
    metric_type,
    judge_model,   -- the model of the first judge
    judge_version,   -- the version of the first judge
    second_model,   -- the model of the second judge
    second_version,   -- the version of the second judge
    pairs AS n,   -- interactions that both judges scored
    kappa,   -- Cohen's weighted kappa; null where neither judge's scores vary
    if(isNull(half), NULL, greatest(-1., kappa - half)) AS kappa_low,   -- the lower end of its 95 % interval; null where all scores are equal
    if(isNull(half), NULL, least(1., kappa + half)) AS kappa_high,   -- the upper end of its 95 % interval; null where all scores are equal
    share AS agreement,   -- the share of equal scores
    if(pairs = 0, NULL, greatest(0.,
        (share * pairs + z * z / 2 - z * sqrt(share * (1 - share) * pairs + z * z / 4)) / (pairs + z * z)))
        AS agreement_low,   -- the lower end of its 95 % interval
    if(pairs = 0, NULL, least(1.,
        (share * pairs + z * z / 2 + z * sqrt(share * (1 - share) * pairs + z * z / 4)) / (pairs + z * z)))
        AS agreement_high,   -- the upper end of its 95 % interval
    first_mean,   -- the mean score of the first judge on these
    second_mean,   -- the mean score of the second judge on these
    failures,   -- interactions that the second judge failed to judge
    as_of,
    complete
FROM moments
