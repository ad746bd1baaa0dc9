-- A price list comes in several currencies, and customers who share it are billed in different ones: their prices stand
-- beside each other. Only a new column can join the key of a table, so `currency` is there once more; '' before this.
ALTER TABLE prices
    ADD COLUMN IF NOT EXISTS listed_in LowCardinality(String) CODEC(ZSTD(1)) AFTER currency,
    MODIFY ORDER BY (provider, region, key, valid_from, listed_in);
