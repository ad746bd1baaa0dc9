-- Of each slice of some customers with a hole between two windows: the first window that was tried, and the windows
-- that have what can be had, which are published, left out for a budget, or not configured. A hole is a window before
-- the end of its dataset, after which it may still be filled; `given_up` are windows after that, which are asked for no
-- more: only a person could have helped and nothing was whole since, or they were tried too often.
SELECT
    dataset,
    customer_id,
    provider,
    toUnixTimestamp(min(window_start)) AS began,
    arraySort(groupUniqArrayIf(toUnixTimestamp(window_start), filled AND window_start <= ends)) AS filled_windows,
    arraySort(groupUniqArrayIf(toUnixTimestamp(window_start), hopeless AND NOT filled AND window_start > ends)) AS given_up
FROM
(
    SELECT
        dataset,
        customer_id,
        provider,
        window_start,
        if(dataset = 'resource', {resource_ends:DateTime('UTC')}, {ends:DateTime('UTC')}) AS ends,
        countIf(b.status IN ('ok', 'partial', 'budget', 'not_configured')) > 0 AS filled,
        max(maxIf(published_at, b.status = 'ok')) OVER (PARTITION BY dataset, customer_id, provider) AS remedied,
        (argMax(b.permanent, (published_at, batch)) AND max(published_at) >= remedied)
            OR uniqExactIf(run_id, b.status = 'failed') > {most:UInt32} AS hopeless
    FROM metric_batches AS b
    WHERE dataset IN {datasets:Array(String)} AND customer_id IN {customers:Array(String)}
        AND window_start >= {first:DateTime('UTC')} AND window_start <= {last:DateTime('UTC')}
        -- An inventory is taken a day after its window at most: that one of the past was refused later tells of nobody.
        AND NOT (dataset = 'resource' AND b.status = 'failed' AND published_at > window_start + INTERVAL 25 HOUR)
    GROUP BY dataset, customer_id, provider, window_start
)
GROUP BY dataset, customer_id, provider, ends
HAVING countIf(filled AND window_start <= ends) < intDiv(toUnixTimestamp(ends) - toUnixTimestamp({first:DateTime('UTC')}), 900) + 1
    OR countIf(hopeless AND NOT filled AND window_start > ends) > 0
