-- All that is known of one resource, oldest first: what changed, how it was each day, what is not known of its metrics, its
-- figures, what it cost, and why it is waste. Each line is one of another reader, and `reader` names it.
--
-- It is asked for, and not a table: of all resources it would hold every reader's rows a second time, in every window.
-- Waste stands in each window for as long as it lasts: that of each day's last window is told.
SELECT
    customer_id,
    provider,
    resource_id,
    instance_uid,   -- empty where the reader does not tell instances apart
    window_start AS at,
    CAST(NULL, 'Nullable(DateTime(''UTC''))') AS until,
    'resource/changes' AS reader,
    toString(change) AS what,
    multiIf(before = '', after, after = '', before, concat(before, ' -> ', after)) AS says
FROM resource_changes_current
UNION ALL
SELECT
    customer_id, provider, resource_id, instance_uid,
    window_start, window_start + INTERVAL 1 DAY,
    'resource/days',
    toString(status),
    format('up in {} and stopped in {} of {} windows that are known', toString(up), toString(stopped), toString(known))
FROM resource_days_current
UNION ALL
SELECT
    customer_id, provider, resource_id, '',
    since, until,
    'coverage',
    toString(metric_name),
    if(reason = '', toString(state), concat(toString(state), ': ', reason))
FROM coverage FINAL
WHERE state != 'collected'
UNION ALL
SELECT
    customer_id, provider, toString(resource_id), toString(instance_uid),
    window_start, window_start + INTERVAL 1 DAY,
    'performance/daily',
    concat(metric_name, ', ', statistic),
    format('{} on average, {} to {} {} ({} points)', toString(round(total / n, 2)), toString(round(minimum, 2)),
        toString(round(maximum, 2)), unit, toString(n))
FROM performance_daily_current
UNION ALL
SELECT
    customer_id, provider, resource_id, '',
    window_start, window_start + INTERVAL 1 DAY,
    'cost/daily',
    concat(service_name, ', ', charge_category),
    concat(toString(if(cost_kind = 'arriving', arriving, amount)), ' ', currency, ' ', cost_kind)
FROM cost_daily_current
UNION ALL
SELECT
    customer_id, provider, resource_id, '',
    window_start, NULL,
    'cost/waste',
    toString(reason),
    concat(evidence, if(isNull(monthly_amount), '', concat('; ', toString(monthly_amount), ' ', currency, ' a month')))
FROM cost_waste_current
WHERE window_start IN (SELECT max(window_start) FROM cost_waste_current GROUP BY toDate(window_start, 'UTC'))
