GRANT SELECT ON {database}.{table} TO {role};
