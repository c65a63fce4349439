-- What people are told of outside of khook, for each notifier: one row a thing, which is sent at least once. Their texts are read when they are sent.
-- Of a notifier, up to which change it has read the change log.

-- +goose Up
CREATE TABLE notices (
    cluster     TEXT   NOT NULL,
    notifier    TEXT   NOT NULL,
    id          TEXT   NOT NULL,
    kind        TEXT   NOT NULL,
    about       TEXT   NOT NULL,
    subject     TEXT   NOT NULL,
    hook_ns     TEXT   NOT NULL,
    hook        TEXT   NOT NULL,
    type        TEXT   NOT NULL,
    namespace   TEXT   NOT NULL,
    config      TEXT   NOT NULL,
    grp         TEXT   NOT NULL,
    delivery_id TEXT   NOT NULL,
    incident_id TEXT   NOT NULL,
    at          BIGINT NOT NULL,
    state       TEXT   NOT NULL,
    message     TEXT   NOT NULL,
    attempt     BIGINT NOT NULL,
    due_at      BIGINT NOT NULL,
    ended_at    BIGINT NOT NULL,
    error       TEXT   NOT NULL,
    PRIMARY KEY (cluster, notifier, id)
);
CREATE INDEX notices_waiting ON notices (cluster, notifier, due_at) WHERE ended_at = 0;
CREATE INDEX notices_ended ON notices (ended_at) WHERE ended_at > 0;
CREATE INDEX notices_incident ON notices (incident_id, ended_at);
CREATE TABLE notifiers (
    cluster TEXT   NOT NULL,
    name    TEXT   NOT NULL,
    seq     BIGINT NOT NULL,
    PRIMARY KEY (cluster, name)
);

-- +goose Down
DROP TABLE notifiers;
DROP TABLE notices;
