-- Costs that all share can be spread by fixed shares of the values of one dimension.
ALTER TABLE allocation_rules ADD COLUMN IF NOT EXISTS shared_dimension LowCardinality(String) CODEC(ZSTD(1));
ALTER TABLE allocation_rules ADD COLUMN IF NOT EXISTS shared_values Array(String) CODEC(ZSTD(1));
ALTER TABLE allocation_rules ADD COLUMN IF NOT EXISTS shared_parts Array(Decimal(38, 18)) CODEC(ZSTD(1));

CREATE OR REPLACE VIEW allocation_rules_current AS
SELECT
    customer_id,
    argMax(r.allocate_by, r.recorded_at) AS allocate_by,
    argMax(r.shared_services, r.recorded_at) AS shared_services,
    argMax(r.shared_categories, r.recorded_at) AS shared_categories,
    argMax(r.shared_by, r.recorded_at) AS shared_by,
    argMax(r.shared_dimension, r.recorded_at) AS shared_dimension,
    argMax(r.shared_values, r.recorded_at) AS shared_values,
    argMax(r.shared_parts, r.recorded_at) AS shared_parts
FROM allocation_rules AS r
GROUP BY customer_id;
