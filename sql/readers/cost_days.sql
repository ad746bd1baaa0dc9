-- What is known of each account's day: billed, estimated, or only on its way. `window` is the day.
--
-- A day of a settled bill is known, also where it cost nothing. Of an estimated one, each window is 1/96. `arriving` is a
-- day of which a bill says something, but has not had the time that its cloud takes, and which nothing estimates.
--
-- shows: window_start provider sub_account_id state known windows is_arriving is_final
-- ordered by: window_start, provider, sub_account_id
-- covers: 1 day
-- also computes: stale_cost_days
-- days of: known_days
-- empty without: cost_metrics of any time
-- reads: cost, cost_billed
-- kept: 800 days
-- key: customer_id provider sub_account_id
-- table: cost_days
SELECT
    customer_id,
    provider,
    sub_account_id,
    state,
    known,
    windows,
    is_arriving,
    is_final
FROM known_days(
    first = toDate({window:DateTime('UTC')}, 'UTC'), last = toDate({window:DateTime('UTC')}, 'UTC'),
    until = {window:DateTime('UTC')} + INTERVAL 1 DAY)
