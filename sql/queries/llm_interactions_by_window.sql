-- Of each window of [start, end): how many rows of one customer a log table has, and the sum of the hashes of their
-- times and ids. {table} and the names of its columns are filled in.
SELECT
    toUnixTimestamp(toStartOfFifteenMinutes(toDateTime({time}, 'UTC'))) AS window_seconds,
    count(),
    sum(cityHash64(toUnixTimestamp64Micro(toDateTime64({time}, 6)), {id}))
FROM {table}
WHERE {customer_id} = {customer:String}
    AND {time} >= fromUnixTimestamp64Micro({start:Int64})
    AND {time} < fromUnixTimestamp64Micro({end:Int64})
GROUP BY window_seconds
