-- Up to when the superseded batches of each dataset were cleared away (ms); without a name, of those that are not there.
SELECT toString(dataset), toUnixTimestamp64Milli(max(until)) FROM superseded_cleared GROUP BY dataset
UNION ALL
SELECT '', toInt64(toUnixTimestamp(min(applied_at))) * 1000 FROM schema_migrations WHERE name = '033_superseded'
