-- `optiinfra migrate`: it makes the database, its tables and views, and fills new columns. The rights to create and drop
-- tables hold for views, too. ALTER TABLE is all of its kinds: which ones, each version has its own. CLUSTER
-- is for ON CLUSTER.
CREATE ROLE IF NOT EXISTS {role}{cluster};
GRANT{cluster} CREATE DATABASE ON {database}.* TO {role};
GRANT{cluster} SELECT, INSERT ON {database}.* TO {role};
GRANT{cluster} CREATE TABLE, DROP TABLE ON {database}.* TO {role};
GRANT{cluster} ALTER TABLE ON {database}.* TO {role};
GRANT{cluster} TABLE ENGINE ON * TO {role};
GRANT{cluster} SYSTEM SYNC REPLICA ON {database}.* TO {role};
GRANT{cluster} CLUSTER ON *.* TO {role};
GRANT{cluster} SELECT ON system.clusters TO {role};
GRANT{cluster} SELECT ON system.macros TO {role};
GRANT{cluster} SELECT ON system.replicas TO {role};
GRANT{cluster} SHOW ROW POLICIES ON {database}.* TO {role};
