-- What files of logs hold of each window, so that a file is read once, and that those which come late are found. A digest
-- is the sum of the digests of a window's records in the file. A row that is lost is made again by reading the file.
CREATE TABLE application_log_files
(
    customer_id  LowCardinality(String)   CODEC(ZSTD(1)),
    location     LowCardinality(String)   CODEC(ZSTD(1)),   -- the bucket, container or folder, and the prefix
    file         String                   CODEC(ZSTD(1)),   -- its key
    version      String                   CODEC(ZSTD(1)),   -- tells it from others under the key
    modified     DateTime('UTC')          CODEC(ZSTD(1)),
    windows      Array(UInt32)            CODEC(ZSTD(1)),   -- the starts of the windows that it holds records of
    digests      Array(UInt64)            CODEC(ZSTD(1)),   -- of each of them
    read_at      DateTime64(3, 'UTC')     CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMMDD(modified)
ORDER BY (customer_id, location, modified, file)
TTL modified + INTERVAL 9 DAY
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000;
