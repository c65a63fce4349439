-- An incident that ended as quiet and is seen to go on is open again: when it had ended, when it was opened again, and how
-- often. unheard_since is since when nothing is heard of what could tell whether it goes on, such as a lost node.
-- A decision says what it was made for, and a delivery which workload the loop guard counts it for.

-- +goose Up
ALTER TABLE incidents ADD COLUMN unheard_since BIGINT NOT NULL DEFAULT 0;
ALTER TABLE incidents ADD COLUMN quiet_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE incidents ADD COLUMN reopened_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE incidents ADD COLUMN reopenings BIGINT NOT NULL DEFAULT 0;
CREATE INDEX incidents_problem ON incidents (uid, type, container);
CREATE INDEX incidents_quiet_at ON incidents (cluster, resolved_at) WHERE resolution = 'quiet';

-- Where it is not an event, event_id is the number of the row of the delivery that it made, which no event has.
ALTER TABLE decisions ADD COLUMN made_for TEXT NOT NULL DEFAULT 'event';
CREATE INDEX decisions_without_event ON decisions (incident_id) WHERE made_for <> 'event';

ALTER TABLE deliveries ADD COLUMN workload TEXT NOT NULL DEFAULT '';
UPDATE deliveries SET workload = coalesce((SELECT i.workload_kind || '/' || i.workload FROM incidents i WHERE i.id = deliveries.incident_id), '');
-- Of those that were not skipped, so that any number of others costs nothing.
CREATE INDEX deliveries_workload ON deliveries (cluster, hook_ns, hook, config, workload, created_at) WHERE skipped = '';
DROP INDEX deliveries_group;
CREATE INDEX deliveries_group ON deliveries (cluster, hook_ns, hook, config, grp, created_at) WHERE skipped = '';
DROP INDEX deliveries_config;
CREATE INDEX deliveries_config ON deliveries (cluster, hook_ns, hook, config, created_at) WHERE skipped = '';
CREATE INDEX deliveries_hook_called ON deliveries (cluster, hook_ns, hook, created_at) WHERE skipped = '';
CREATE INDEX delivery_groups_held_keys ON delivery_groups (cluster, hook_ns, hook, config, grp) WHERE hold <> '';

-- +goose Down
DROP INDEX delivery_groups_held_keys;
DROP INDEX deliveries_hook_called;
DROP INDEX deliveries_config;
CREATE INDEX deliveries_config ON deliveries (cluster, hook_ns, hook, config, created_at);
DROP INDEX deliveries_group;
CREATE INDEX deliveries_group ON deliveries (cluster, hook_ns, hook, config, grp, created_at);
DROP INDEX deliveries_workload;
ALTER TABLE deliveries DROP COLUMN workload;
DROP INDEX decisions_without_event;
ALTER TABLE decisions DROP COLUMN made_for;
DROP INDEX incidents_quiet_at;
DROP INDEX incidents_problem;
ALTER TABLE incidents DROP COLUMN reopenings;
ALTER TABLE incidents DROP COLUMN reopened_at;
ALTER TABLE incidents DROP COLUMN quiet_at;
ALTER TABLE incidents DROP COLUMN unheard_since;
