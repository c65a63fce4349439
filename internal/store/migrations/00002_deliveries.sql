-- +goose Up
-- What a delivery needs beyond its call: why it was not sent, what was held back before it, what
-- people did with it. The table is made anew, so that its long texts stay last.

CREATE TABLE deliveries_new (
  id             TEXT PRIMARY KEY,
  seq            BIGINT NOT NULL,
  cluster        TEXT NOT NULL,
  state          TEXT NOT NULL,
  hook_ns        TEXT NOT NULL,
  hook           TEXT NOT NULL,
  hook_uid       TEXT NOT NULL,
  config         TEXT NOT NULL,
  type           TEXT NOT NULL,
  grp            TEXT NOT NULL,
  agent_ns       TEXT NOT NULL,
  agent          TEXT NOT NULL,
  incident_id    TEXT NOT NULL,
  catch_up       BIGINT NOT NULL,
  timeout        BIGINT NOT NULL,
  attempt        BIGINT NOT NULL,
  created_at     BIGINT NOT NULL,
  next_at        BIGINT NOT NULL,
  called_at      BIGINT NOT NULL,
  ended_at       BIGINT NOT NULL,
  dialect        TEXT NOT NULL,
  context_id     TEXT NOT NULL,
  task_id        TEXT NOT NULL,
  task_state     TEXT NOT NULL,
  error          TEXT NOT NULL,
  outcome        TEXT NOT NULL,
  outcome_at     BIGINT NOT NULL,
  skipped        TEXT NOT NULL,
  retry_of       TEXT NOT NULL,
  wanted_by      TEXT NOT NULL,
  cancel_by      TEXT NOT NULL,
  even_recovered BIGINT NOT NULL,
  verify_window  BIGINT NOT NULL,
  approval       BIGINT NOT NULL,
  replies        BIGINT NOT NULL,
  question_id    TEXT NOT NULL,
  -- The long texts come last, so that a list need not read past them.
  held_back      TEXT NOT NULL,
  reply          TEXT NOT NULL,
  question       TEXT NOT NULL,
  prompt         TEXT NOT NULL,
  data           TEXT NOT NULL,
  answer         TEXT NOT NULL
);
INSERT INTO deliveries_new SELECT id, seq, cluster, state, hook_ns, hook, hook_uid, config, type, grp, agent_ns, agent, incident_id,
  catch_up, timeout, attempt, created_at, next_at, called_at, ended_at, dialect, context_id, task_id, task_state, error, outcome, outcome_at,
  '', '', '', '', 0, 0, 0, 0, '', '', '', '', prompt, data, answer FROM deliveries;
DROP TABLE deliveries;
ALTER TABLE deliveries_new RENAME TO deliveries;
CREATE INDEX deliveries_group ON deliveries (cluster, hook_ns, hook, config, grp, created_at);
CREATE INDEX deliveries_hook ON deliveries (cluster, hook_ns, hook, created_at);
CREATE INDEX deliveries_config ON deliveries (cluster, hook_ns, hook, config, created_at);
CREATE INDEX deliveries_budget ON deliveries (cluster, created_at) WHERE skipped = '';
CREATE INDEX deliveries_created ON deliveries (created_at, id);
CREATE INDEX deliveries_unfinished ON deliveries (cluster, created_at) WHERE ended_at = 0;
CREATE INDEX deliveries_unverified ON deliveries (cluster, ended_at) WHERE outcome = '' AND skipped = '';
CREATE INDEX deliveries_incident ON deliveries (incident_id);
CREATE INDEX deliveries_namespace ON deliveries (hook_ns, created_at, id);
CREATE INDEX deliveries_state ON deliveries (state, created_at, id);
CREATE INDEX deliveries_times ON deliveries (hook_ns, hook, created_at, id, state, called_at, ended_at, outcome, outcome_at);

-- Which incidents a delivery is about, once each.
CREATE TABLE delivery_incidents (
  delivery_id TEXT NOT NULL,
  incident_id TEXT NOT NULL,
  PRIMARY KEY (delivery_id, incident_id)
);
CREATE INDEX delivery_incidents_incident ON delivery_incidents (incident_id, delivery_id);
INSERT INTO delivery_incidents SELECT DISTINCT delivery_id, incident_id FROM decisions WHERE delivery_id <> '' AND disposition <> 'explained'
  UNION SELECT id, incident_id FROM deliveries;

-- What happened in a delivery, in order. source is what an entry is of: one that grows is written again.
CREATE TABLE delivery_log (
  delivery_id TEXT NOT NULL,
  n           BIGINT NOT NULL,
  source      TEXT NOT NULL,
  at          BIGINT NOT NULL,
  kind        TEXT NOT NULL,
  state       TEXT NOT NULL,
  who         TEXT NOT NULL,
  name        TEXT NOT NULL,
  text        TEXT NOT NULL,
  cut         BIGINT NOT NULL,
  PRIMARY KEY (delivery_id, n)
);
CREATE UNIQUE INDEX delivery_log_source ON delivery_log (delivery_id, source) WHERE source <> '';

-- What is remembered of a group of a hook's resources beside its deliveries: what was held back since
-- the last one, and when a person let calls through again.
CREATE TABLE delivery_groups (
  cluster      TEXT NOT NULL,
  hook_ns      TEXT NOT NULL,
  hook         TEXT NOT NULL,
  config       TEXT NOT NULL,
  grp          TEXT NOT NULL,
  hook_uid     TEXT NOT NULL,
  over_budget  BIGINT NOT NULL,
  loop_guard   BIGINT NOT NULL,
  held_since   BIGINT NOT NULL,
  held_until   BIGINT NOT NULL,
  hold         TEXT NOT NULL,
  why          TEXT NOT NULL,
  hold_ends    BIGINT NOT NULL,
  needs_person BIGINT NOT NULL,
  resumed_at   BIGINT NOT NULL,
  resumed_by   TEXT NOT NULL,
  resources    TEXT NOT NULL,
  PRIMARY KEY (cluster, hook_ns, hook, config, grp)
);
CREATE INDEX delivery_groups_held ON delivery_groups (cluster, hold_ends) WHERE hold <> '';
CREATE INDEX delivery_groups_ends ON delivery_groups (hold_ends);

-- +goose Down
DROP TABLE delivery_groups;
DROP TABLE delivery_log;
DROP TABLE delivery_incidents;
