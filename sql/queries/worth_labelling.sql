-- A customer's judged interactions of a time: how far versions of the judge are apart on one, at most over the metrics, a
-- second judge among them; and whether a score is next to where a metric's good and bad meet. Of `shares`, which are the
-- figures of retrieval and the customer's rubrics, they meet at a half, and next to it is less than a quarter from it.
SELECT
    provider,
    toUnixTimestamp(window_start),
    application_id,
    model_name,
    interaction_id,
    max(apart) AS apart,
    max(is_near) AS is_near
FROM
(
    SELECT
        provider, window_start, application_id, model_name, interaction_id,
        replaceRegexpOne(metric_type, '^second:', '') AS metric,
        ifNull(max(score) - min(score), 0) AS apart,
        max(label = 'cannot_tell' OR if(
            metric IN {metrics:Array(String)},
            label IN ('poor', 'fair', 'minor', 'mild'),
            ifNull(abs(score - 0.5) < 0.25, false)
        )) AS is_near
    FROM application_metrics_current
    WHERE customer_id = {customer:String}
        AND window_start >= fromUnixTimestamp({begin:UInt32}) AND window_start < fromUnixTimestamp({end:UInt32})
        AND metric IN arrayConcat({metrics:Array(String)}, {shares:Array(String)})
        AND label NOT IN ('judge_failed', 'over_budget', 'not_assessable')
    GROUP BY provider, window_start, application_id, model_name, interaction_id, metric
)
GROUP BY provider, window_start, application_id, model_name, interaction_id
ORDER BY provider, window_start, application_id, model_name, interaction_id
