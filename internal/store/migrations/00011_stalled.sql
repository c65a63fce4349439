-- Since when nothing new was seen of a delivery's task, and what is done about it. heard_sum is a digest of what was seen last.
-- 0 and '' are what a Hook that does not say wants.

-- +goose Up
ALTER TABLE deliveries ADD COLUMN stall_after BIGINT NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN on_stall TEXT NOT NULL DEFAULT '';
ALTER TABLE deliveries ADD COLUMN heard_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN heard_sum BIGINT NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN stalled_since BIGINT NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN stop TEXT NOT NULL DEFAULT '';
ALTER TABLE deliveries ADD COLUMN stop_at BIGINT NOT NULL DEFAULT 0;

-- Of a task that is under way the newest entry of its log tells when something new was last seen.
UPDATE deliveries SET heard_at = max(called_at, coalesce((SELECT max(at) FROM delivery_log l WHERE l.delivery_id = deliveries.id), 0))
  WHERE ended_at = 0 AND task_id <> '';

CREATE INDEX deliveries_stalled ON deliveries (created_at, id) WHERE stalled_since > 0;
CREATE INDEX deliveries_stalled_hook ON deliveries (cluster, hook_ns, hook, stalled_since) WHERE stalled_since > 0;

-- +goose Down
DROP INDEX deliveries_stalled_hook;
DROP INDEX deliveries_stalled;
ALTER TABLE deliveries DROP COLUMN stop_at;
ALTER TABLE deliveries DROP COLUMN stop;
ALTER TABLE deliveries DROP COLUMN stalled_since;
ALTER TABLE deliveries DROP COLUMN heard_sum;
ALTER TABLE deliveries DROP COLUMN heard_at;
ALTER TABLE deliveries DROP COLUMN on_stall;
ALTER TABLE deliveries DROP COLUMN stall_after;
