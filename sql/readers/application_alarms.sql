-- Whether an application got worse: one verdict a day for each metric, on all its traffic and on each of its models.
-- `window` is the day; while it is not over, its figures are those so far and there is no verdict.
--
-- The day, and the three days that end with it, are compared with the same hours of the 84 days before those three (12 weeks), as
-- judged by the same version of the judge; hours that lack on one side are left out on both. Observations are those of
-- application/days: repeated texts count once, and each counts within its hour for as many interactions as it stands
-- for. Hours count by how much their observations tell, so that a busy hour of few samples does not decide the day.
--
-- effect: the difference of the means (of hallucination and toxicity the shares), with its 95 % interval: Welch's for
--   means, Newcombe's for shares.
-- effective_n: how many equally weighted, independent observations of days that are all alike would tell as much.
-- day_to_day: how far the days before lie from each other, as a multiple of what chance in their samples does; 1 is none.
-- p: one-sided, from a score test whose error holds samples and days, by t with as many degrees of freedom as there are
--   days less one, corrected for skewness; the smaller of the day's and of the three days', which have 90 and 10 % of
--   the level.
-- q_application, q_customer: the false discovery rates (Benjamini-Hochberg) at which p is found among all of the
--   application, and of the customer. An alarm is at most .016 in the one and at most .1 in the other: where nothing
--   changed, at most 2 % of an application's days have one.
-- visible_in_a_day, visible_in_three_days: the change that is found in 4 of 5 cases where five metrics are judged.
--
-- shows: window_start provider application_id model_name metric_type alarm figure usual effect low high observations
--   effective_n p q_application q_customer seen_in_days visible_in_a_day visible_in_three_days reason days_before
--   day_to_day judge_version as_of complete
-- ordered by: window_start DESC, ifNull(alarm, 0) DESC
-- if empty: nothing was judged on the day
-- empty without: application_metrics
-- covers: 1 day
-- computed from: application/days
-- also computes: stale_application_alarms
-- reads: application/days since day - 86 days
-- kept: 400 days
-- key: customer_id provider application_id model_name metric_type
-- types: seen_in_days Nullable(UInt8), days_before UInt8, hours UInt8
WITH
{window:DateTime('UTC')} AS day,
(above, below) -> if(below > 0, above / below, 0.) AS over,
1.959963984540054 AS z95,
(mean, n) -> (mean * n + z95 * z95 / 2
    - z95 * sqrt(greatest(mean * (1 - mean), 0) * n + z95 * z95 / 4)) / (n + z95 * z95) AS wilson_low,
(mean, n) -> (mean * n + z95 * z95 / 2
    + z95 * sqrt(greatest(mean * (1 - mean), 0) * n + z95 * z95 / 4)) / (n + z95 * z95) AS wilson_high,
-- Wallace's approximation of Student's t by the normal distribution, and back: off by less than 0.02 from 3 degrees on.
(t, df) -> sign(t) * (8 * df + 1) / (8 * df + 3) * sqrt(df * log1p(t * t / df)) AS normal_of_t,
(z, df) -> sqrt(df * (exp(pow(z * (8 * df + 3) / (8 * df + 1), 2) / df) - 1)) AS t_of_normal,
days AS
(
    SELECT d.* EXCEPT (window_start), 86 - dateDiff('day', window_start, day) AS number
    FROM application_days_current AS d
    WHERE window_start >= day - INTERVAL 86 DAY AND window_start <= day
),
-- The verdict is by the version of the judge that answered most on the day: a second judge is asked about a share.
judged AS
(
    SELECT
        customer_id,
        provider,
        application_id,
        metric_type,
        argMax((version, model_of_judge, is_share, is_worse), (observed, newest, version)) AS facts,
        argMaxIf(name, observed, name != '') AS application_name,
        facts.1 AS judge_version
    FROM
    (
        SELECT
            customer_id,
            provider,
            application_id,
            metric_type,
            d.judge_version AS version,
            sum(d.observations) AS observed,
            max(d.as_of) AS newest,
            max(d.judge_model) AS model_of_judge,
            any(d.is_rate) AS is_share,
            max(d.higher_is_worse) AS is_worse,
            max(d.application_name) AS name
        FROM days AS d
        WHERE number = 86
        GROUP BY customer_id, provider, application_id, metric_type, version
    )
    GROUP BY customer_id, provider, application_id, metric_type
),
series_of_days AS
(
    SELECT
        (customer_id, provider, application_id, model, metric_type) AS series,
        number,
        any((j.facts.1, j.facts.2, j.facts.3, j.facts.4, j.application_name)) AS facts,
        (sum(d.scores), sum(d.observations), max(d.as_of), min(d.complete)) AS said,
        [sumForEach(d.weights), sumForEach(d.weight_squares), sumForEach(d.first_powers), sumForEach(d.second_powers),
            sumForEach(d.third_powers)] AS sums
    FROM days AS d
    INNER JOIN judged AS j USING (customer_id, provider, application_id, metric_type, judge_version)
    ARRAY JOIN if(d.model_name = '', [''], ['', toString(d.model_name)]) AS model
    GROUP BY customer_id, provider, application_id, model, metric_type, number
),
-- `n`: the unweighted observations that would tell as much; the sums are scaled to them.
cells AS
(
    SELECT
        series,
        hour,
        any(s.facts) AS facts,
        groupArray((s.number, s.n, s.n / s.sums[1][hour] * s.sums[3][hour], s.n / s.sums[1][hour] * s.sums[4][hour],
            s.n / s.sums[1][hour] * s.sums[5][hour], s.said)) AS of_days
    FROM
    (
        SELECT *, hour, over(pow(sums[1][hour], 2), sums[2][hour]) AS n
        FROM series_of_days
        ARRAY JOIN range(1, 25) AS hour
    ) AS s
    WHERE n > 0
    GROUP BY series, hour
),
-- By hour: what is compared, and how scores spread if nothing changed.
added AS
(
    SELECT
        series,
        span,
        facts,
        of_days,
        arrayFilter(x -> x.1 >= 87 - span, of_days) AS now,
        arrayFilter(x -> x.1 < 84, of_days) AS before,
        arraySum(x -> x.2, now) AS n_now,
        arraySum(x -> x.2, before) AS n_before,
        arraySum(x -> x.3, now) AS first_now,
        arraySum(x -> x.3, before) AS first_before,
        arraySum(x -> x.4, now) AS second_now,
        arraySum(x -> x.4, before) AS second_before,
        arraySum(x -> x.5, now) + arraySum(x -> x.5, before) AS thirds
    FROM cells
    ARRAY JOIN [1, 3] AS span
),
means AS
(
    SELECT
        * EXCEPT (now, before),
        n_now > 0 AND n_before > 0 AS is_compared,
        n_now + n_before AS n,
        over(first_now, n_now) AS mean_now,
        over(first_before, n_before) AS mean_before,
        over(first_now + first_before, n) AS mean,
        over(second_now + second_before, n) AS second,
        over(thirds, n) AS third
    FROM added
),
hours AS
(
    SELECT
        *,
        greatest(second - mean * mean, 0) * over(n, n - 1) AS variance,
        third - 3 * mean * second + 2 * pow(mean, 3) AS skew,
        if(is_compared, n_now * n_before / n, 0.) AS weight,
        [
            1.,
            weight,
            weight * mean_now,
            weight * mean_before,
            pow(weight, 2) * variance / n_now,
            pow(weight, 2) * variance / n_before,
            pow(weight, 3) * skew * (1 / pow(n_now, 2) - 1 / pow(n_before, 2)),
            weight * variance,
            greatest(n_now - 1, 0),
            greatest(second_now - n_now * mean_now * mean_now, 0),
            pow(weight, 2) / n_now,
            pow(weight, 2) * greatest(second_before - n_before * mean_before * mean_before, 0) / pow(n_before, 2),
            n_now,
            n_before,
            first_now,
            first_before
        ] AS of_hour
    FROM means
),
-- By day: how far the days before are from each other. What is of an hour is added with its first day.
of_days AS
(
    SELECT
        series,
        span,
        one.1 AS number,
        any(h.facts) AS facts,
        any(one.6) AS said,
        sumForEachIf(h.of_hour, h.is_compared AND one.1 = h.of_days[1].1) AS of_hours,
        sumIf(one.2, h.is_compared) AS n,
        over(sumIf(one.3 - one.2 * h.mean_before, h.is_compared), n) * if(facts.4, 1, -1) AS worse_by,
        over(pow(n, 2), sumIf(one.2 * h.variance, h.is_compared)) AS precision
    FROM hours AS h
    ARRAY JOIN h.of_days AS one
    GROUP BY series, span, number
),
of_spans AS
(
    SELECT
        series,
        span,
        any(d.facts) AS facts,
        if(facts.4, 1, -1) AS sign,
        anyIf(d.said, number = 86) AS said,
        uniqExactIf(number, number < 84) AS days_before,
        sumForEach(d.of_hours) AS sums,
        countIf(number < 84 AND d.n > 0) AS days,
        over(sumIf(pow(d.worse_by, 2) * d.precision, number < 84), days - 1) AS dispersion,
        over(sumIf(pow(d.worse_by, 2) * d.precision, number < 84 AND d.worse_by > 0),
            countIf(number < 84 AND d.worse_by > 0 AND d.precision > 0)) AS of_bad_days,
        over(days - 1, sumIf(d.precision, number < 84)
            - over(sumIf(pow(d.precision, 2), number < 84), sumIf(d.precision, number < 84))) AS usual_day,
        over(sumIf(pow(d.n, 2), number >= 87 - span), pow(sumIf(d.n, number >= 87 - span), 2)) AS in_now,
        over(sumIf(pow(d.n, 3), number >= 87 - span), pow(sumIf(d.n, number >= 87 - span), 3)) AS in_now_cubed,
        over(sumIf(pow(d.n, 2), number < 84), pow(sumIf(d.n, number < 84), 2)) AS in_before
    FROM of_days AS d
    GROUP BY series, span
),
moments AS
(
    SELECT
        * EXCEPT (sums),
        sums[1] AS hours,
        over(sums[3], sums[2]) AS figure,
        over(sums[4], sums[2]) AS usual,
        over(sums[5], pow(sums[2], 2)) AS sampling_now,
        over(sums[6], pow(sums[2], 2)) AS sampling_before,
        over(sums[7], pow(sums[2], 3)) AS third_moment,
        over(sums[8], sums[2]) AS usual_variance,
        if(sums[9] > 0, over(sums[10], sums[9]), usual_variance) * over(sums[11], pow(sums[2], 2)) AS welch_now,
        over(sums[12], pow(sums[2], 2)) AS welch_before,
        sums[13] AS n_now,
        sums[14] AS n_before,
        sums[15] AS hits,
        over(sums[16], sums[14]) AS mean_before,
        avgIf(dispersion, span = 1 AND series.4 = '' AND days >= 7)
            OVER (PARTITION BY series.1, series.2, series.3) AS of_application,
        -- Bad days may be further off than good ones. Whether days vary, 84 of one metric tell badly, and those of all
        -- metrics of the application well: then a tenth more is on the safe side, since simulated days that varied
        -- little had false alarms on 2.1 % without it. Less than samples vary by chance the days cannot vary.
        if(dispersion > 1.8 OR of_application > 1.15, greatest(dispersion, of_bad_days), dispersion) AS spread,
        greatest(if(of_application > 1.15, 1.1 * spread, spread), 0.7) AS ratio
    FROM of_spans
),
errors AS
(
    SELECT
        *,
        greatest(ratio - 1, 0) * usual_day AS between,
        sampling_now + sampling_before AS sampling,
        least(ratio, 1) * sampling + between * (in_now + in_before) AS error,
        over(sqrt(between), if(sign > 0, mean_before, 1 - mean_before)) AS cv,
        greatest(days - 1, 1) AS df
    FROM moments
),
-- The tail: of scores as they spread, of days as if a bad day were a multiple of a usual one.
tails AS
(
    SELECT
        *,
        over(sign * (figure - usual), sqrt(error)) AS distance,
        over(sign * third_moment, pow(greatest(error, sampling), 1.5))
            + over((3 * cv + pow(cv, 3)) * pow(between, 1.5) * in_now_cubed, pow(error, 1.5)) AS skewness,
        greatest(least(skewness, 3), 0) AS gamma,
        if(usual_variance > 0, over(usual_variance, sampling_now + between * in_now), n_now) AS effective_n,
        if(usual_variance > 0, over(usual_variance, sampling_before + between * in_before), n_before) AS n_of_before
    FROM errors
),
-- Wilson and Hilferty's normal equivalent of a gamma distribution of that skewness.
straight AS
(
    SELECT
        *,
        if(gamma < 1e-4, distance, 6 / gamma
            * (cbrt(greatest(1 + gamma * distance / 2, 0)) - 1 + gamma * gamma / 36)) AS t,
        t_of_normal(z95, df) * sqrt(welch_now + welch_before + between * (in_now + in_before)) AS half,
        wilson_low(figure, effective_n) AS low_now,
        wilson_high(figure, effective_n) AS high_now,
        wilson_low(usual, n_of_before) AS low_before,
        wilson_high(usual, n_of_before) AS high_before
    FROM tails
),
tested AS
(
    SELECT
        *,
        if(error > 0, erfc(normal_of_t(t, df) / sqrt(2)) / 2, 1.) AS p_of_scores,
        -- Of few events none is likelier to be seen than that all of them fell on these days.
        if(sign > 0, exp(hits * log(greatest(over(n_now, n_now + n_before), 1e-300))), 0.) AS least_p,
        greatest(p_of_scores, least_p) AS p,
        if(facts.3, sqrt(pow(figure - low_now, 2) + pow(high_before - usual, 2)), half) AS below,
        if(facts.3, sqrt(pow(high_now - figure, 2) + pow(usual - low_before, 2)), half) AS above,
        -- As found in 4 of 5 cases at a level of .016 * .9 / 5 in a day, and .016 * .1 / 5 in three.
        (t_of_normal(if(span = 1, 2.7611, 3.4141), df) + 0.8416) * sqrt(error) AS visible
    FROM straight
),
spans AS
(
    SELECT
        series,
        any(t.facts) AS facts,
        anyIf((t.said, t.days_before, t.hours, t.dispersion), span = 1) AS of_day,
        groupArray((t.span, t.p, t.figure, t.usual, t.below, t.above, t.effective_n, t.visible)) AS both,
        arrayFirst(x -> x.1 = 1, both) AS one,
        arrayFirst(x -> x.1 = 3, both) AS three
    FROM tested AS t
    GROUP BY series
),
ended AS
(
    SELECT customer_id, provider
    FROM metric_batches
    WHERE dataset = 'application' AND window_start >= day + INTERVAL 1 DAY - INTERVAL 15 MINUTE
        AND window_start < day + INTERVAL 1 DAY
),
later AS
(
    SELECT 1 FROM metric_batches WHERE dataset = 'application' AND window_start >= day + INTERVAL 1 DAY LIMIT 1
),
reasoned AS
(
    SELECT
        *,
        count() OVER (PARTITION BY series.1, series.2, series.3, series.5) > 2 AS has_models,
        of_day.1.2 AS observations,
        multiIf(
            (series.1, series.2) NOT IN ended AND (SELECT count() FROM later) = 0, 'the day is not over',
            observations < 20, format('{} different texts were judged, 20 are needed', toString(observations)),
            of_day.2 < 7, format('{} of the 84 days before were judged by this version of the judge, 7 are needed',
                toString(of_day.2)),
            of_day.3 = 0, 'no hour of the day was judged on a day before',
            '') AS reason
    FROM spans
),
verdicts AS
(
    SELECT *, if(reason = '', least(one.2 / 0.9, three.2 / 0.1, 1.), NULL) AS p
    FROM reasoned
    WHERE series.4 = '' OR (has_models AND reason = '')
),
ranked AS
(
    SELECT
        *,
        p * count(p) OVER (PARTITION BY series.1, series.2, series.3)
            / count(p) OVER (PARTITION BY series.1, series.2, series.3 ORDER BY p
                RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS of_application,
        p * count(p) OVER (PARTITION BY series.1)
            / count(p) OVER (PARTITION BY series.1 ORDER BY p
                RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS of_customer
    FROM verdicts
),
found AS
(
    SELECT
        *,
        of_day.3 = 0 AS is_alone,   -- with no hour to compare
        if(isNull(p), NULL, min(of_application) OVER (PARTITION BY series.1, series.2, series.3 ORDER BY p DESC
            RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)) AS q_application,
        if(isNull(p), NULL, min(of_customer) OVER (PARTITION BY series.1 ORDER BY p DESC
            RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)) AS q_customer
    FROM ranked
)
SELECT
    series.1 AS customer_id,
    series.2 AS provider,
    series.3 AS application_id,
    f.facts.5 AS application_name,
    series.4 AS model_name,   -- empty: all traffic of the application
    series.5 AS metric_type,
    f.facts.2 AS judge_model,
    f.facts.1 AS judge_version,
    f.facts.3 AS is_rate,   -- the figures are shares of answers with any of it, not mean scores
    f.facts.4 AS higher_is_worse,
    if(f.reason = '', f.q_application <= 0.016 AND f.q_customer <= 0.1, NULL) AS alarm,   -- null: see reason
    f.reason AS reason,   -- why there is no verdict
    f.of_day.1.1 AS scores,   -- of the day
    f.observations AS observations,   -- of the day: different texts
    if(f.is_alone, NULL, f.one.7) AS effective_n,   -- as many independent ones would tell as much
    if(f.is_alone, NULL, f.one.3) AS figure,   -- of the hours that are compared
    if(f.is_alone, NULL, f.one.4) AS usual,   -- of the same hours of the days before
    if(f.is_alone, NULL, f.one.3 - f.one.4) AS effect,   -- figure less usual
    if(f.is_alone, NULL, f.one.3 - f.one.4 - f.one.5) AS low,   -- the lower end of its 95 % interval
    if(f.is_alone, NULL, f.one.3 - f.one.4 + f.one.6) AS high,   -- the upper end of its 95 % interval
    if(f.reason = '', f.one.2, NULL) AS p_day,   -- one-sided, of the day alone
    if(f.reason = '', f.three.2, NULL) AS p_three_days,   -- one-sided, of the three days that end with it
    f.p AS p,   -- of both together
    f.q_application AS q_application,   -- the false discovery rate within the application
    f.q_customer AS q_customer,   -- the false discovery rate within the customer
    if(alarm, if(f.one.2 / 0.9 <= f.three.2 / 0.1, 1, 3), NULL) AS seen_in_days,   -- 1 or 3: which of the two told
    if(f.is_alone, NULL, f.three.3) AS figure_of_three_days,
    if(f.is_alone, NULL, f.three.3 - f.three.4) AS effect_of_three_days,
    if(f.is_alone, NULL, f.three.3 - f.three.4 - f.three.5) AS low_of_three_days,   -- the lower end of its interval
    if(f.is_alone, NULL, f.three.3 - f.three.4 + f.three.6) AS high_of_three_days,   -- the upper end of its interval
    if(f.is_alone, NULL, f.one.8) AS visible_in_a_day,   -- the change that a day shows in 4 of 5 cases
    if(f.is_alone, NULL, f.three.8) AS visible_in_three_days,   -- the change that three days show in 4 of 5 cases
    f.of_day.2 AS days_before,   -- of the 84 that the day is compared with, those that were judged
    f.of_day.3 AS hours,   -- of the day, those that are compared
    if(f.is_alone OR f.of_day.2 < 2, NULL, f.of_day.4) AS day_to_day,   -- 1: days vary as chance has it
    f.of_day.1.3 AS as_of,
    f.of_day.1.4 AS complete
FROM found AS f
