-- Where interactions can be logged for customers whose `interactions` is `clickhouse`: one row per prompt and response.
-- An empty provider is the customer's only one, or `provider` of its application. Texts are kept 30 days.
CREATE TABLE llm_interactions
(
    timestamp         DateTime64(6, 'UTC')      CODEC(Delta(8), ZSTD(1)),
    customer_id       LowCardinality(String)    CODEC(ZSTD(1)),
    provider          LowCardinality(String)    CODEC(ZSTD(1)),   -- where the application runs: aws, gcp, azure, vultr
    application_id    LowCardinality(String)    CODEC(ZSTD(1)),
    application_name  LowCardinality(String)    CODEC(ZSTD(1)),
    model_name        LowCardinality(String)    CODEC(ZSTD(1)),
    interaction_id    String                    CODEC(ZSTD(1)),
    prompt            String                    CODEC(ZSTD(1)),
    response          String                    CODEC(ZSTD(1)),
    context           String                    CODEC(ZSTD(1)),   -- what the answer was to be taken from, if anything
    reference         String                    CODEC(ZSTD(1)),   -- a known good answer, if there is one
    prompt_tokens     Nullable(UInt32)          CODEC(ZSTD(1)),
    response_tokens   Nullable(UInt32)          CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMMDD(timestamp)
ORDER BY (customer_id, provider, timestamp)
TTL toDateTime(timestamp) + INTERVAL 30 DAY
SETTINGS ttl_only_drop_parts = 1;

-- The same columns from otel_traces, the table that the OpenTelemetry Collector's ClickHouse exporter creates when it
-- writes to this database. That table may come later: with its columns named, a view may wait for it. The customer is
-- the resource attribute `customer.id`; prompt and response are JSON where they are messages (gen_ai.input.messages).
CREATE VIEW llm_interactions_otel
(
    timestamp         DateTime64(9),
    customer_id       String,
    provider          String,
    application_id    String,
    application_name  String,
    model_name        String,
    interaction_id    String,
    prompt            String,
    response          String,
    context           String,
    reference         String,
    prompt_tokens     Nullable(UInt32),
    response_tokens   Nullable(UInt32)
)
AS WITH
    arrayFirst((held, name) -> name = 'gen_ai.client.inference.operation.details', Events.Attributes, Events.Name) AS details,
    arrayFirst((held, name) -> name = 'gen_ai.content.prompt', Events.Attributes, Events.Name) AS asked,
    arrayFirst((held, name) -> name = 'gen_ai.content.completion', Events.Attributes, Events.Name) AS answered,
    arrayFirst((held, name) -> name = 'gen_ai.choice', Events.Attributes, Events.Name) AS choice,
    arrayFilter((held, name) -> match(name, '^gen_ai[.][a-z]+[.]message$'), Events.Attributes, Events.Name) AS messages,
    arrayFilter(key -> match(key, '^gen_ai[.]prompt[.][0-9]+[.]content$'), mapKeys(SpanAttributes)) AS numbered
SELECT
    Timestamp AS timestamp,
    ResourceAttributes['customer.id'] AS customer_id,
    ResourceAttributes['cloud.provider'] AS provider,
    ServiceName AS application_id,
    ServiceName AS application_name,
    coalesce(nullIf(SpanAttributes['gen_ai.response.model'], ''), SpanAttributes['gen_ai.request.model']) AS model_name,
    concat(TraceId, '-', SpanId) AS interaction_id,
    coalesce(
        nullIf(SpanAttributes['gen_ai.input.messages'], ''),
        nullIf(SpanAttributes['gen_ai.prompt'], ''),
        nullIf(details['gen_ai.input.messages'], ''),
        nullIf(asked['gen_ai.prompt'], ''),
        nullIf(arrayStringConcat(arrayMap(
            key -> SpanAttributes[key], arraySort(key -> toUInt32OrZero(splitByChar('.', key)[3]), numbered)), '\n\n'), ''),
        nullIf(arrayStringConcat(arrayMap(held -> held['content'], messages), '\n\n'), ''),
        '') AS prompt,
    coalesce(
        nullIf(SpanAttributes['gen_ai.output.messages'], ''),
        nullIf(SpanAttributes['gen_ai.completion'], ''),
        nullIf(details['gen_ai.output.messages'], ''),
        nullIf(answered['gen_ai.completion'], ''),
        nullIf(SpanAttributes['gen_ai.completion.0.content'], ''),
        nullIf(choice['message'], ''),
        choice['content']) AS response,
    SpanAttributes['gen_ai.retrieval.documents'] AS context,
    '' AS reference,
    toUInt32OrNull(SpanAttributes['gen_ai.usage.input_tokens']) AS prompt_tokens,
    toUInt32OrNull(SpanAttributes['gen_ai.usage.output_tokens']) AS response_tokens
FROM otel_traces
WHERE SpanAttributes['gen_ai.operation.name'] IN ('', 'chat', 'text_completion', 'generate_content')
    AND (arrayExists(key -> startsWith(key, 'gen_ai.'), mapKeys(SpanAttributes))
         OR arrayExists(name -> startsWith(name, 'gen_ai.'), Events.Name));
