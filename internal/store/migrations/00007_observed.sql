-- When khook last saw something of an incident, by its own clock: last_seen is by that of a node, which may be off. 0 where
-- that was not kept.

-- +goose Up
ALTER TABLE incidents ADD COLUMN observed_at BIGINT NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE incidents DROP COLUMN observed_at;
