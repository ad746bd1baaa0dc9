-- The tables that store rows of customers: those with a column customer_id, and those of the OpenTelemetry Collector's
-- exporter, which have the id among the attributes of a resource. Views store nothing.
SELECT table, max(name = 'customer_id') AS has_column
FROM system.columns
WHERE database = currentDatabase()
    AND (name = 'customer_id' OR (name = 'ResourceAttributes' AND startsWith(type, 'Map(')))
    AND table IN (SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree')
GROUP BY table
ORDER BY table
