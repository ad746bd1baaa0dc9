-- What each thing has cost on a day: the bill where it has settled, else the estimates. `window` is the day.
--
-- Rows of the kind `arriving` hold what the bill says so far of a day that has not settled; it is no part of the amount.
-- Each run also computes the days again whose bill changed since.
--
-- shows: window_start provider sub_account_id service_name resource_name amount effective currency cost_kind
--   charge_category cost_type region_id arriving tags resource_id
-- ordered by: window_start, currency, amount DESC
-- covers: 1 day
-- also computes: stale_cost_days
-- days of: costs_of_days
-- empty without: cost_metrics of any time
-- reads: cost, cost_billed
-- kept: 800 days
-- key: customer_id provider sub_account_id service_name resource_id
-- types: resource_id String, resource_name String, tags String
-- table: cost_daily
SELECT
    customer_id,
    provider,
    sub_account_id,
    currency,
    service_name,
    resource_id,
    resource_name,
    region_id,
    cost_type,
    charge_category,
    charge_class,
    cost_kind,
    tags,
    tags_from,
    amount,
    billed,
    estimated,
    arriving,
    effective,
    listed,
    contracted,
    provisional,
    matched,
    until,
    used   -- data_transfer, or empty: all else, and what the bill does not tell apart
FROM costs_of_days(
    first = toDate({window:DateTime('UTC')}, 'UTC'), last = toDate({window:DateTime('UTC')}, 'UTC'),
    until = {window:DateTime('UTC')} + INTERVAL 1 DAY)
