-- `optiinfra migrate`: it makes the database, its tables and views, and fills new columns. CREATE OR REPLACE VIEW takes
-- DROP VIEW, too. The role's own lock and log are rows of tables of the database.
CREATE ROLE IF NOT EXISTS {role};
GRANT CREATE DATABASE ON {database}.* TO {role};
GRANT SELECT, INSERT ON {database}.* TO {role};
GRANT CREATE TABLE, DROP TABLE, CREATE VIEW, DROP VIEW ON {database}.* TO {role};
GRANT ALTER TABLE ON {database}.* TO {role};
GRANT TABLE ENGINE ON * TO {role};
GRANT SYSTEM SYNC REPLICA ON {database}.* TO {role};
GRANT SELECT ON system.clusters TO {role};
GRANT SHOW ROW POLICIES ON {database}.* TO {role};
