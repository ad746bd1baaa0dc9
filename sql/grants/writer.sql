-- Runs, sensors and schedules, and `optiinfra run | collect | golden | customers remove --erase`. A reader whose
-- SELECT changed has a table of before, which a run drops when the new one is filled, and a view, which it makes anew.
CREATE ROLE IF NOT EXISTS {role};
GRANT SELECT, INSERT, ALTER DELETE ON {database}.* TO {role};
GRANT CREATE VIEW, DROP TABLE ON {database}.* TO {role};
GRANT SYSTEM SYNC REPLICA ON {database}.* TO {role};
GRANT SELECT ON system.clusters TO {role};
GRANT SELECT ON system.macros TO {role};
GRANT SELECT ON system.mutations TO {role};
GRANT SELECT ON system.parts TO {role};
GRANT SELECT ON system.replicas TO {role};
