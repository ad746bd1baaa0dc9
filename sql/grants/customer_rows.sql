-- Of each table and view with rows of customers that a customer's role may read. The right comes after the policies, so
-- that never the role has it alone. The first policy lets everybody else read on, whatever the server's
-- `users_without_row_policies_can_read_rows` is; the second leaves the role the customer's rows, whatever other policies
-- its users have.
CREATE ROW POLICY OR REPLACE {permits}{cluster} ON {database}.{table} USING 1 AS PERMISSIVE TO {whom};
CREATE ROW POLICY OR REPLACE {role}{cluster} ON {database}.{table} USING {condition} AS RESTRICTIVE TO {role};
GRANT{cluster} SELECT ON {database}.{table} TO {role};
