-- Spans and log records are read as the exporter writes them, by the same readers as files: what this view made of them
-- knew the forms of 2024 only.
DROP VIEW IF EXISTS llm_interactions_otel;
