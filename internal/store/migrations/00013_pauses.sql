-- Pauses: people stop the calls of all Hooks (namespace and hook are empty), of a namespace's, or of one. ends_at is 0 where only a person
-- ends it. Those that are over are deleted.
-- Of a group, how many events were held back by them.

-- +goose Up
CREATE TABLE pauses (
    cluster   TEXT    NOT NULL,
    namespace TEXT    NOT NULL,
    hook      TEXT    NOT NULL,
    reason    TEXT    NOT NULL,
    paused_by TEXT    NOT NULL,
    paused_at BIGINT  NOT NULL,
    ends_at   BIGINT  NOT NULL,
    cancel    INTEGER NOT NULL,
    PRIMARY KEY (cluster, namespace, hook)
);
ALTER TABLE delivery_groups ADD COLUMN paused BIGINT NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE delivery_groups DROP COLUMN paused;
DROP TABLE pauses;
