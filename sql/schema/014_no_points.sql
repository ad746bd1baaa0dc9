-- A metric that was asked for and had no points is a state of its own: SQL reads states, never the text of a reason.
-- CloudWatch and Cloud Monitoring write no point for a load balancer while nothing passes; `cost waste` rests on it.
ALTER TABLE coverage MODIFY COLUMN IF EXISTS state Enum8('collected' = 1, 'not_offered' = 2, 'no_permission' = 3,
    'agent_missing' = 4, 'throttled' = 5, 'error' = 6, 'no_points' = 7);

-- States that last go on as they are, so that a load balancer that was silent for a week still is.
ALTER TABLE coverage UPDATE state = 'no_points'
WHERE state = 'not_offered' AND reason = 'the cloud returned no points'
SETTINGS mutations_sync = 2;

-- A view keeps the types that its columns had when it was made.
CREATE OR REPLACE VIEW coverage_current AS
SELECT * EXCEPT (version, until)
FROM coverage FINAL
WHERE until IS NULL;
