-- After the role is gone.
DROP ROW POLICY IF EXISTS {policy} ON {database}.{table}{cluster};
