-- Why each mutation of a table that is not done last failed, '' where it did not.
SELECT latest_fail_reason
FROM system.mutations
WHERE database = currentDatabase() AND table = {table:String} AND NOT is_done
