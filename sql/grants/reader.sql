-- SQL clients, Grafana, `MetricsTables`, and `optiinfra read | report | export | status | metrics`: nothing is written.
CREATE ROLE IF NOT EXISTS {role};
GRANT SELECT ON {database}.* TO {role};
GRANT SELECT ON system.clusters TO {role};
GRANT SELECT ON system.macros TO {role};
GRANT SELECT ON system.parts TO {role};
