-- What an inventory looked at: by account, the regions that were listed, or none where all of the account was. Empty where it
-- is not known: in rows of before, and of other datasets. What is in no account and region of it is not known to be gone.
ALTER TABLE metric_batches ADD COLUMN IF NOT EXISTS scope Map(String, Array(String)) CODEC(ZSTD(1));
