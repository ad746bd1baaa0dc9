-- SQL clients, Grafana, `MetricsTables`, and `optiinfra read | report | export | status | metrics`: nothing is written.
CREATE ROLE IF NOT EXISTS {role}{cluster};
GRANT{cluster} SELECT ON {database}.* TO {role};
GRANT{cluster} SELECT ON system.clusters TO {role};
GRANT{cluster} SELECT ON system.macros TO {role};
GRANT{cluster} SELECT ON system.parts TO {role};
