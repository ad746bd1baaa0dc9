-- The applications that got worse by the newest day of the last week that has a verdict, with each metric that did: its
-- name, the model where it is not all traffic, the day, the figure and the usual one.
SELECT
    customer_id,
    provider,
    application_id,
    any(application_name) AS name,
    arraySort(groupArray((metric_type, model_name, day, figure, usual))) AS metrics
FROM
(
    SELECT
        customer_id,
        provider,
        application_id,
        toString(metric_type) AS metric_type,
        toString(model_name) AS model_name,
        argMax(toString(a.application_name), window_start) AS application_name,
        argMax(a.alarm, window_start) AS is_worse,
        toString(toDate(max(window_start), 'UTC')) AS day,
        argMax(a.figure, window_start) AS figure,
        argMax(a.usual, window_start) AS usual
    FROM application_alarms_current AS a
    WHERE window_start >= {last:DateTime('UTC')} - INTERVAL 8 DAY AND a.alarm IS NOT NULL
        AND customer_id IN {customers:Array(String)}
    GROUP BY customer_id, provider, application_id, metric_type, model_name
)
WHERE is_worse
GROUP BY customer_id, provider, application_id
ORDER BY customer_id, provider, application_id
