-- An outcome is decided at the end of its window. The end is a fact of the row, so that neither a restart nor another --verify-window
-- moves it: verify_until is 0 where there is no outcome to come. recovered_at is when all had recovered, also if it failed again later.

-- +goose Up
ALTER TABLE deliveries ADD COLUMN verify_until BIGINT NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN recovered_at BIGINT NOT NULL DEFAULT 0;
-- Whose window goes on: ten minutes were the default.
UPDATE deliveries SET verify_until = ended_at + CASE verify_window WHEN 0 THEN 600000000 ELSE verify_window END
  WHERE outcome = '' AND skipped = '' AND ended_at > 0 AND (task_id <> '' OR state = 'succeeded');
UPDATE deliveries SET recovered_at = outcome_at WHERE outcome = 'recovered';

DROP INDEX deliveries_unverified;
CREATE INDEX deliveries_unverified ON deliveries (cluster, verify_until) WHERE outcome = '' AND verify_until > 0;
DROP INDEX deliveries_times;
CREATE INDEX deliveries_times ON deliveries (hook_ns, hook, created_at, id, state, called_at, ended_at, outcome, outcome_at, verify_until);

-- How failures end that nobody was called for.
CREATE INDEX deliveries_calls ON deliveries (cluster, hook_ns, workload, created_at) WHERE skipped = '';
CREATE INDEX incidents_namespace_type ON incidents (namespace, type, first_seen, id);

-- When those recovered that are known, for the counters that say it from now on.
INSERT INTO hook_counts (span, hook_ns, hook, start, cluster, config, name, n)
  SELECT 1, hook_ns, hook, outcome_at / 60000000, cluster, config,
    'recovered:' || CASE WHEN called_at = 0 OR outcome_at <= called_at THEN 'before-call' WHEN outcome_at <= ended_at THEN 'during-task' ELSE 'after-task' END, count(*)
  FROM deliveries WHERE outcome = 'recovered' GROUP BY 1, 2, 3, 4, 5, 6, 7;
INSERT INTO hook_counts (span, hook_ns, hook, start, cluster, config, name, n)
  SELECT 60, hook_ns, hook, outcome_at / 3600000000 * 60, cluster, config,
    'recovered:' || CASE WHEN called_at = 0 OR outcome_at <= called_at THEN 'before-call' WHEN outcome_at <= ended_at THEN 'during-task' ELSE 'after-task' END, count(*)
  FROM deliveries WHERE outcome = 'recovered' GROUP BY 1, 2, 3, 4, 5, 6, 7;

-- +goose Down
DROP INDEX incidents_namespace_type;
DROP INDEX deliveries_calls;
DELETE FROM hook_counts WHERE name LIKE 'recovered:%';
DROP INDEX deliveries_times;
CREATE INDEX deliveries_times ON deliveries (hook_ns, hook, created_at, id, state, called_at, ended_at, outcome, outcome_at);
DROP INDEX deliveries_unverified;
CREATE INDEX deliveries_unverified ON deliveries (cluster, ended_at) WHERE outcome = '' AND skipped = '';
ALTER TABLE deliveries DROP COLUMN recovered_at;
ALTER TABLE deliveries DROP COLUMN verify_until;
