-- What was wrong with a reading of a bill, so that it is told until the bill is read again: between readings, which are hours
-- apart, no slice asks for it. A row with problems is written once a reading has ended.
ALTER TABLE cost_readings ADD COLUMN IF NOT EXISTS problems Array(String) CODEC(ZSTD(1));
