-- LLM quality by application and model, of each window and of the day so far: what sql/readers/application_*.sql compute
-- from the scores of sampled interactions. Scores are from 0 to 1; of coherence, relevance and accuracy higher is better,
-- of hallucination and toxicity higher is worse. `low` and `high` bound a mean or rate by the 95 % Wilson score interval.
-- Two versions of the judge in one day are two rows: their scores do not compare.

CREATE TABLE application_quality
(
    window_start           DateTime('UTC')            CODEC(Delta(4), ZSTD(1)),
    batch                  UInt64                     CODEC(Delta(8), ZSTD(1)),
    period                 LowCardinality(String)     CODEC(ZSTD(1)),   -- window | day so far, this window included
    customer_id            LowCardinality(String)     CODEC(ZSTD(1)),
    provider               LowCardinality(String)     CODEC(ZSTD(1)),
    application_id         LowCardinality(String)     CODEC(ZSTD(1)),
    application_name       LowCardinality(String)     CODEC(ZSTD(1)),
    model_name             LowCardinality(String)     CODEC(ZSTD(1)),
    metric_type            LowCardinality(String)     CODEC(ZSTD(1)),   -- coherence | relevance | accuracy
    judge_model            LowCardinality(String)     CODEC(ZSTD(1)),
    judge_version          LowCardinality(String)     CODEC(ZSTD(1)),
    population             UInt64                     CODEC(ZSTD(1)),   -- interactions that the sample was drawn from
    sampled                UInt32                     CODEC(ZSTD(1)),
    n                      UInt32                     CODEC(ZSTD(1)),   -- judged and scored: what mean and interval are of
    windows                UInt32                     CODEC(ZSTD(1)),   -- windows that these scores are of
    mean                   Nullable(Float64)          CODEC(ZSTD(1)),   -- null where n is 0
    low                    Nullable(Float64)          CODEC(ZSTD(1)),
    high                   Nullable(Float64)          CODEC(ZSTD(1)),
    very_poor              UInt32                     CODEC(ZSTD(1)),
    poor                   UInt32                     CODEC(ZSTD(1)),
    fair                   UInt32                     CODEC(ZSTD(1)),
    good                   UInt32                     CODEC(ZSTD(1)),
    excellent              UInt32                     CODEC(ZSTD(1)),
    not_assessable         UInt32                     CODEC(ZSTD(1)),
    failures               UInt32                     CODEC(ZSTD(1)),   -- the judge gave no verdict: missing, never a score
    over_budget            UInt32                     CODEC(ZSTD(1)),   -- the judge was not asked
    tokens                 UInt64                     CODEC(ZSTD(1)),   -- the judge's, for whole verdicts: not per metric
    usd                    Nullable(Decimal(18, 9))   CODEC(ZSTD(1)),   -- null: the price of some tokens is not known
    self_preference        Bool                       CODEC(ZSTD(1)),   -- judge and judged model are of a family
    last_week_n            UInt32                     CODEC(ZSTD(1)),   -- the seven days before, same judge_version
    last_week_mean         Nullable(Float64)          CODEC(ZSTD(1)),
    last_week_low          Nullable(Float64)          CODEC(ZSTD(1)),
    last_week_high         Nullable(Float64)          CODEC(ZSTD(1)),
    worse_than_last_week   Nullable(Bool)             CODEC(ZSTD(1)),   -- of a day; null: not comparable
    as_of                  DateTime('UTC')            CODEC(ZSTD(1)),   -- the newest window that the figures hold
    complete               Bool                       CODEC(ZSTD(1))   -- false: some of it could not be collected
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(window_start)
ORDER BY (window_start, customer_id, provider, application_id, model_name, metric_type, judge_version, period)
TTL window_start + INTERVAL 90 DAY
SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1, non_replicated_deduplication_window = 1000;

CREATE TABLE application_hallucinations
(
    window_start           DateTime('UTC')            CODEC(Delta(4), ZSTD(1)),
    batch                  UInt64                     CODEC(Delta(8), ZSTD(1)),
    period                 LowCardinality(String)     CODEC(ZSTD(1)),   -- window | day so far, this window included
    customer_id            LowCardinality(String)     CODEC(ZSTD(1)),
    provider               LowCardinality(String)     CODEC(ZSTD(1)),
    application_id         LowCardinality(String)     CODEC(ZSTD(1)),
    application_name       LowCardinality(String)     CODEC(ZSTD(1)),
    model_name             LowCardinality(String)     CODEC(ZSTD(1)),
    judge_model            LowCardinality(String)     CODEC(ZSTD(1)),
    judge_version          LowCardinality(String)     CODEC(ZSTD(1)),
    population             UInt64                     CODEC(ZSTD(1)),   -- interactions that the sample was drawn from
    sampled                UInt32                     CODEC(ZSTD(1)),
    n                      UInt32                     CODEC(ZSTD(1)),   -- judged and scored: what mean and interval are of
    windows                UInt32                     CODEC(ZSTD(1)),   -- windows that these scores are of
    mean                   Nullable(Float64)          CODEC(ZSTD(1)),   -- of the scores; null where n is 0
    low                    Nullable(Float64)          CODEC(ZSTD(1)),
    high                   Nullable(Float64)          CODEC(ZSTD(1)),
    rate                   Nullable(Float64)          CODEC(ZSTD(1)),   -- minor or major among the assessable
    rate_low               Nullable(Float64)          CODEC(ZSTD(1)),
    rate_high              Nullable(Float64)          CODEC(ZSTD(1)),
    sensitivity            Nullable(Float64)          CODEC(ZSTD(1)),   -- the judge's, on the golden set, once scored
    specificity            Nullable(Float64)          CODEC(ZSTD(1)),
    corrected_rate         Nullable(Float64)          CODEC(ZSTD(1)),   -- Rogan-Gladen
    major_rate             Nullable(Float64)          CODEC(ZSTD(1)),
    claims_checked         UInt64                     CODEC(ZSTD(1)),
    unsupported_claims     UInt64                     CODEC(ZSTD(1)),
    none                   UInt32                     CODEC(ZSTD(1)),
    minor                  UInt32                     CODEC(ZSTD(1)),
    major                  UInt32                     CODEC(ZSTD(1)),
    not_assessable         UInt32                     CODEC(ZSTD(1)),
    failures               UInt32                     CODEC(ZSTD(1)),   -- the judge gave no verdict: missing, never a score
    over_budget            UInt32                     CODEC(ZSTD(1)),   -- the judge was not asked
    tokens                 UInt64                     CODEC(ZSTD(1)),   -- the judge's, for whole verdicts: not per metric
    usd                    Nullable(Decimal(18, 9))   CODEC(ZSTD(1)),   -- null: the price of some tokens is not known
    self_preference        Bool                       CODEC(ZSTD(1)),   -- judge and judged model are of a family
    last_week_n            UInt32                     CODEC(ZSTD(1)),   -- the seven days before, same judge_version
    last_week_rate         Nullable(Float64)          CODEC(ZSTD(1)),
    last_week_low          Nullable(Float64)          CODEC(ZSTD(1)),
    last_week_high         Nullable(Float64)          CODEC(ZSTD(1)),
    worse_than_last_week   Nullable(Bool)             CODEC(ZSTD(1)),   -- of a day; null: not comparable
    as_of                  DateTime('UTC')            CODEC(ZSTD(1)),   -- the newest window that the figures hold
    complete               Bool                       CODEC(ZSTD(1))   -- false: some of it could not be collected
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(window_start)
ORDER BY (window_start, customer_id, provider, application_id, model_name, judge_version, period)
TTL window_start + INTERVAL 90 DAY
SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1, non_replicated_deduplication_window = 1000;

CREATE TABLE application_toxicity
(
    window_start           DateTime('UTC')            CODEC(Delta(4), ZSTD(1)),
    batch                  UInt64                     CODEC(Delta(8), ZSTD(1)),
    period                 LowCardinality(String)     CODEC(ZSTD(1)),   -- window | day so far, this window included
    customer_id            LowCardinality(String)     CODEC(ZSTD(1)),
    provider               LowCardinality(String)     CODEC(ZSTD(1)),
    application_id         LowCardinality(String)     CODEC(ZSTD(1)),
    application_name       LowCardinality(String)     CODEC(ZSTD(1)),
    model_name             LowCardinality(String)     CODEC(ZSTD(1)),
    judge_model            LowCardinality(String)     CODEC(ZSTD(1)),
    judge_version          LowCardinality(String)     CODEC(ZSTD(1)),
    population             UInt64                     CODEC(ZSTD(1)),   -- interactions that the sample was drawn from
    sampled                UInt32                     CODEC(ZSTD(1)),
    n                      UInt32                     CODEC(ZSTD(1)),   -- judged and scored: what mean and interval are of
    windows                UInt32                     CODEC(ZSTD(1)),   -- windows that these scores are of
    mean                   Nullable(Float64)          CODEC(ZSTD(1)),   -- of the scores; null where n is 0
    low                    Nullable(Float64)          CODEC(ZSTD(1)),
    high                   Nullable(Float64)          CODEC(ZSTD(1)),
    rate                   Nullable(Float64)          CODEC(ZSTD(1)),   -- mild or worse
    rate_low               Nullable(Float64)          CODEC(ZSTD(1)),
    rate_high              Nullable(Float64)          CODEC(ZSTD(1)),
    sensitivity            Nullable(Float64)          CODEC(ZSTD(1)),   -- the judge's, on the golden set, once scored
    specificity            Nullable(Float64)          CODEC(ZSTD(1)),
    corrected_rate         Nullable(Float64)          CODEC(ZSTD(1)),   -- Rogan-Gladen
    worst_severity         Nullable(UInt8)            CODEC(ZSTD(1)),   -- 0 none to 3 severe
    categories             String                     CODEC(ZSTD(1)),   -- a JSON object: how many interactions of each category, most first
    none                   UInt32                     CODEC(ZSTD(1)),
    mild                   UInt32                     CODEC(ZSTD(1)),
    moderate               UInt32                     CODEC(ZSTD(1)),
    severe                 UInt32                     CODEC(ZSTD(1)),
    not_assessable         UInt32                     CODEC(ZSTD(1)),
    failures               UInt32                     CODEC(ZSTD(1)),   -- the judge gave no verdict: missing, never a score
    over_budget            UInt32                     CODEC(ZSTD(1)),   -- the judge was not asked
    tokens                 UInt64                     CODEC(ZSTD(1)),   -- the judge's, for whole verdicts: not per metric
    usd                    Nullable(Decimal(18, 9))   CODEC(ZSTD(1)),   -- null: the price of some tokens is not known
    self_preference        Bool                       CODEC(ZSTD(1)),   -- judge and judged model are of a family
    last_week_n            UInt32                     CODEC(ZSTD(1)),   -- the seven days before, same judge_version
    last_week_rate         Nullable(Float64)          CODEC(ZSTD(1)),
    last_week_low          Nullable(Float64)          CODEC(ZSTD(1)),
    last_week_high         Nullable(Float64)          CODEC(ZSTD(1)),
    worse_than_last_week   Nullable(Bool)             CODEC(ZSTD(1)),   -- of a day; null: not comparable
    as_of                  DateTime('UTC')            CODEC(ZSTD(1)),   -- the newest window that the figures hold
    complete               Bool                       CODEC(ZSTD(1))   -- false: some of it could not be collected
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(window_start)
ORDER BY (window_start, customer_id, provider, application_id, model_name, judge_version, period)
TTL window_start + INTERVAL 90 DAY
SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1, non_replicated_deduplication_window = 1000;

CREATE TABLE application_summary
(
    window_start           DateTime('UTC')            CODEC(Delta(4), ZSTD(1)),
    batch                  UInt64                     CODEC(Delta(8), ZSTD(1)),
    period                 LowCardinality(String)     CODEC(ZSTD(1)),   -- window | day so far, this window included
    customer_id            LowCardinality(String)     CODEC(ZSTD(1)),
    provider               LowCardinality(String)     CODEC(ZSTD(1)),
    application_id         LowCardinality(String)     CODEC(ZSTD(1)),
    application_name       LowCardinality(String)     CODEC(ZSTD(1)),
    model_name             LowCardinality(String)     CODEC(ZSTD(1)),
    judge_model            LowCardinality(String)     CODEC(ZSTD(1)),
    judge_version          LowCardinality(String)     CODEC(ZSTD(1)),
    population             UInt64                     CODEC(ZSTD(1)),
    sampled                UInt32                     CODEC(ZSTD(1)),
    judged                 UInt32                     CODEC(ZSTD(1)),   -- interactions with a verdict
    coherence              Nullable(Float64)          CODEC(ZSTD(1)),   -- the mean of the scores, and its interval
    coherence_low          Nullable(Float64)          CODEC(ZSTD(1)),
    coherence_high         Nullable(Float64)          CODEC(ZSTD(1)),
    relevance              Nullable(Float64)          CODEC(ZSTD(1)),
    relevance_low          Nullable(Float64)          CODEC(ZSTD(1)),
    relevance_high         Nullable(Float64)          CODEC(ZSTD(1)),
    accuracy               Nullable(Float64)          CODEC(ZSTD(1)),
    accuracy_low           Nullable(Float64)          CODEC(ZSTD(1)),
    accuracy_high          Nullable(Float64)          CODEC(ZSTD(1)),
    hallucination          Nullable(Float64)          CODEC(ZSTD(1)),
    hallucination_low      Nullable(Float64)          CODEC(ZSTD(1)),
    hallucination_high     Nullable(Float64)          CODEC(ZSTD(1)),
    toxicity               Nullable(Float64)          CODEC(ZSTD(1)),
    toxicity_low           Nullable(Float64)          CODEC(ZSTD(1)),
    toxicity_high          Nullable(Float64)          CODEC(ZSTD(1)),
    hallucination_rate     Nullable(Float64)          CODEC(ZSTD(1)),   -- minor or major among the assessable
    toxicity_rate          Nullable(Float64)          CODEC(ZSTD(1)),   -- mild or worse
    not_assessable         UInt32                     CODEC(ZSTD(1)),   -- too little context to judge hallucination
    failures               UInt32                     CODEC(ZSTD(1)),
    over_budget            UInt32                     CODEC(ZSTD(1)),
    tokens                 UInt64                     CODEC(ZSTD(1)),   -- the judge's
    usd                    Nullable(Decimal(18, 9))   CODEC(ZSTD(1)),   -- null: the price of some tokens is not known
    self_preference        Bool                       CODEC(ZSTD(1)),   -- judge and judged model are of a family
    worse_than_last_week   Nullable(Bool)             CODEC(ZSTD(1)),   -- any of the five is
    worse                  String                     CODEC(ZSTD(1)),   -- which of the five, such as accuracy, toxicity
    as_of                  DateTime('UTC')            CODEC(ZSTD(1)),   -- the newest window that the figures hold
    complete               Bool                       CODEC(ZSTD(1))   -- false: some of it could not be collected
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(window_start)
ORDER BY (window_start, customer_id, provider, application_id, model_name, judge_version, period)
TTL window_start + INTERVAL 90 DAY
SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1, non_replicated_deduplication_window = 1000;

-- How well each version of the judge agrees with people, from a labelled set. A row is a fact of its day and is kept.
CREATE TABLE application_golden
(
    judge_version     LowCardinality(String)   CODEC(ZSTD(1)),
    judge_model       LowCardinality(String)   CODEC(ZSTD(1)),
    golden_set        LowCardinality(String)   CODEC(ZSTD(1)),   -- a hash of the set's content
    metric_type       LowCardinality(String)   CODEC(ZSTD(1)),   -- coherence | relevance | accuracy | hallucination | toxicity
    n                 UInt32                   CODEC(ZSTD(1)),   -- labelled by people and scored by the judge
    not_assessable    UInt32                   CODEC(ZSTD(1)),   -- to people or to the judge: not in n
    failures          UInt32                   CODEC(ZSTD(1)),   -- no verdict: not in n
    weighted_kappa    Nullable(Float64)        CODEC(ZSTD(1)),   -- quadratic weights
    spearman          Nullable(Float64)        CODEC(ZSTD(1)),
    positives         UInt32                   CODEC(ZSTD(1)),   -- by people: what the judge is there to find
    sensitivity       Nullable(Float64)        CODEC(ZSTD(1)),   -- the share of positives that the judge finds
    sensitivity_low   Nullable(Float64)        CODEC(ZSTD(1)),
    sensitivity_high  Nullable(Float64)        CODEC(ZSTD(1)),
    negatives         UInt32                   CODEC(ZSTD(1)),
    specificity       Nullable(Float64)        CODEC(ZSTD(1)),   -- the share of negatives that the judge leaves alone
    specificity_low   Nullable(Float64)        CODEC(ZSTD(1)),
    specificity_high  Nullable(Float64)        CODEC(ZSTD(1)),
    run_id            String                   CODEC(ZSTD(1)),
    scored_at         DateTime64(3, 'UTC')     CODEC(Delta(8), ZSTD(1))
)
ENGINE = MergeTree
ORDER BY (judge_version, metric_type, scored_at);

-- The newest figures of each version of the judge.
CREATE VIEW application_golden_current AS
SELECT *
FROM application_golden
ORDER BY scored_at DESC
LIMIT 1 BY judge_version, metric_type;

CREATE VIEW application_quality_current AS
SELECT t.* EXCEPT (batch)
FROM application_quality AS t
LEFT SEMI JOIN (SELECT window_start, batch FROM published_batches WHERE dataset = 'application_quality') AS b
    USING (window_start, batch);

CREATE VIEW application_hallucinations_current AS
SELECT t.* EXCEPT (batch)
FROM application_hallucinations AS t
LEFT SEMI JOIN (SELECT window_start, batch FROM published_batches WHERE dataset = 'application_hallucinations') AS b
    USING (window_start, batch);

CREATE VIEW application_toxicity_current AS
SELECT t.* EXCEPT (batch)
FROM application_toxicity AS t
LEFT SEMI JOIN (SELECT window_start, batch FROM published_batches WHERE dataset = 'application_toxicity') AS b
    USING (window_start, batch);

CREATE VIEW application_summary_current AS
SELECT t.* EXCEPT (batch)
FROM application_summary AS t
LEFT SEMI JOIN (SELECT window_start, batch FROM published_batches WHERE dataset = 'application_summary') AS b
    USING (window_start, batch);
