-- Runs, sensors and schedules, and `optiinfra run | collect | golden | customers remove --erase`. A reader whose
-- SELECT changed has a table of before, which a run drops when the new one is filled, and a view, which it makes anew.
CREATE ROLE IF NOT EXISTS {role}{cluster};
GRANT{cluster} SELECT, INSERT, ALTER DELETE ON {database}.* TO {role};
GRANT{cluster} CREATE VIEW, DROP TABLE ON {database}.* TO {role};
GRANT{cluster} SYSTEM SYNC REPLICA ON {database}.* TO {role};
GRANT{cluster} SELECT ON system.clusters TO {role};
GRANT{cluster} SELECT ON system.macros TO {role};
GRANT{cluster} SELECT ON system.mutations TO {role};
GRANT{cluster} SELECT ON system.parts TO {role};
GRANT{cluster} SELECT ON system.replicas TO {role};
