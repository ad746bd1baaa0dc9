-- `optiinfra migrate`: it makes the database, its tables and views, and fills new columns. The rights to create and drop
-- tables hold for views, too. ALTER TABLE is all of its kinds: which ones, each version has its own. CLUSTER
-- is for ON CLUSTER.
CREATE ROLE IF NOT EXISTS {role};
GRANT CREATE DATABASE ON {database}.* TO {role};
GRANT SELECT, INSERT ON {database}.* TO {role};
GRANT CREATE TABLE, DROP TABLE ON {database}.* TO {role};
GRANT ALTER TABLE ON {database}.* TO {role};
GRANT TABLE ENGINE ON * TO {role};
GRANT SYSTEM SYNC REPLICA ON {database}.* TO {role};
GRANT CLUSTER ON *.* TO {role};
GRANT SELECT ON system.clusters TO {role};
GRANT SELECT ON system.macros TO {role};
GRANT SELECT ON system.replicas TO {role};
GRANT SHOW ROW POLICIES ON {database}.* TO {role};
