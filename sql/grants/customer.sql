-- The read-only role of one customer. It may see which files were applied, which `optiinfra read` asks for first.
CREATE ROLE IF NOT EXISTS {role}{cluster};
GRANT{cluster} SELECT ON {database}.`schema_migrations` TO {role};
