-- What got worse by the newest verdicts, of the last three days: a day that is not over has none. `days` is how many days
-- in a row had the alarm, of the verdicts of the last 14 days; 1 is new. (argMax takes a null of the newest row only from
-- within a tuple: by itself it skips to an older row that has a figure.)
WITH
verdicts AS
(
    SELECT *
    FROM application_alarms_current
    WHERE window_start >= toStartOfDay({last:DateTime('UTC')}) - INTERVAL 14 DAY
        AND window_start <= {last:DateTime('UTC')} AND isNotNull(alarm) AND customer_id IN {customers:Array(String)}
)
SELECT
    customer_id,
    provider,
    application_id,
    model_name,
    metric_type,
    toString(toDate(max(window_start), 'UTC')) AS day,
    argMax(is_rate, window_start) AS of_shares,
    argMax(tuple(seen_in_days), window_start).1 AS seen_in,
    argMax(tuple(if(seen_in_days = 3, figure_of_three_days, figure)), window_start).1 AS now,
    argMax(tuple(if(seen_in_days = 3, figure_of_three_days - effect_of_three_days, usual)), window_start).1 AS before,
    argMax(tuple(if(seen_in_days = 3, low_of_three_days, low)), window_start).1 AS lowest,
    argMax(tuple(if(seen_in_days = 3, high_of_three_days, high)), window_start).1 AS highest,
    argMax(tuple(observations), window_start).1 AS n,
    argMax(tuple(q_application), window_start).1 AS q,
    if(arrayFirstIndex(one -> NOT one.2, arrayReverseSort(groupArray((window_start, assumeNotNull(alarm))))) AS quiet = 0,
        count(), quiet - 1) AS days
FROM verdicts
GROUP BY customer_id, provider, application_id, model_name, metric_type
HAVING argMax(alarm, window_start) AND max(window_start) >= toStartOfDay({last:DateTime('UTC')}) - INTERVAL 3 DAY
ORDER BY customer_id, provider, application_id, model_name, metric_type
