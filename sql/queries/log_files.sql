-- What the files of a customer's location that were changed since a moment hold of each window, as digests.
SELECT file, version, argMax(f.windows, f.read_at), argMax(f.digests, f.read_at)
FROM application_log_files AS f
WHERE customer_id = {customer:String} AND location = {location:String}
    AND modified >= fromUnixTimestamp({since:UInt32})
GROUP BY file, version
