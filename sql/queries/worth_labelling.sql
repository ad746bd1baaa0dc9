-- A customer's judged interactions of a time: how far versions of the judge are apart on one, at most over the metrics,
-- and whether a label is next to where a metric's good and bad meet.
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
        ifNull(max(score) - min(score), 0) AS apart,
        max(label IN ('poor', 'fair', 'minor', 'mild', 'cannot_tell')) AS is_near
    FROM application_metrics_current
    WHERE customer_id = {customer:String}
        AND window_start >= fromUnixTimestamp({begin:UInt32}) AND window_start < fromUnixTimestamp({end:UInt32})
        AND metric_type IN {metrics:Array(String)} AND label NOT IN ('judge_failed', 'over_budget')
    GROUP BY provider, window_start, application_id, model_name, interaction_id, metric_type
)
GROUP BY provider, window_start, application_id, model_name, interaction_id
ORDER BY provider, window_start, application_id, model_name, interaction_id
