-- The mutations of some tables that are not done: the table, and why it last failed, '' where it did not.
SELECT table, latest_fail_reason
FROM system.mutations
WHERE database = currentDatabase() AND table IN {tables:Array(String)} AND NOT is_done
