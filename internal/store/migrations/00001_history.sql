-- +goose Up
-- Times are microseconds since 1970 in UTC, 0 for none. The statements are plain SQL that both
-- SQLite and PostgreSQL take.

CREATE TABLE incidents (
  id            TEXT PRIMARY KEY,
  seq           BIGINT NOT NULL,
  cluster       TEXT NOT NULL,
  type          TEXT NOT NULL,
  kind          TEXT NOT NULL,
  namespace     TEXT NOT NULL,
  name          TEXT NOT NULL,
  uid           TEXT NOT NULL,
  container     TEXT NOT NULL,
  workload_kind TEXT NOT NULL,
  workload      TEXT NOT NULL,
  node          TEXT NOT NULL,
  labels        TEXT NOT NULL,
  first_seen    BIGINT NOT NULL,
  last_seen     BIGINT NOT NULL,
  resolved_at   BIGINT NOT NULL,
  resolution    TEXT NOT NULL,
  caused_by     TEXT NOT NULL,
  events        BIGINT NOT NULL,
  duplicates    BIGINT NOT NULL,
  reason        TEXT NOT NULL,
  message       TEXT NOT NULL,
  restart_count BIGINT NOT NULL,
  exit_code     BIGINT
);
CREATE INDEX incidents_open ON incidents (cluster, last_seen, id) WHERE resolution = '';
CREATE INDEX incidents_resolved ON incidents (resolved_at) WHERE resolution <> '';
CREATE INDEX incidents_first_seen ON incidents (first_seen, id);
CREATE INDEX incidents_namespace ON incidents (namespace, first_seen, id);
CREATE INDEX incidents_type ON incidents (type, first_seen, id);
CREATE INDEX incidents_name ON incidents (name, first_seen, id);
CREATE INDEX incidents_workload ON incidents (workload, first_seen, id);
CREATE INDEX incidents_firing ON incidents (first_seen, id) WHERE resolution = '';
CREATE INDEX incidents_caused_by ON incidents (caused_by) WHERE caused_by <> '';

CREATE TABLE events (
  id            BIGINT PRIMARY KEY,
  event_key     TEXT NOT NULL,
  cluster       TEXT NOT NULL,
  incident_id   TEXT NOT NULL,
  type          TEXT NOT NULL,
  status        TEXT NOT NULL,
  at            BIGINT NOT NULL,
  recorded_at   BIGINT NOT NULL,
  kind          TEXT NOT NULL,
  namespace     TEXT NOT NULL,
  name          TEXT NOT NULL,
  uid           TEXT NOT NULL,
  container     TEXT NOT NULL,
  workload_kind TEXT NOT NULL,
  workload      TEXT NOT NULL,
  node          TEXT NOT NULL,
  reason        TEXT NOT NULL,
  message       TEXT NOT NULL,
  restart_count BIGINT NOT NULL,
  exit_code     BIGINT,
  count         BIGINT NOT NULL
);
CREATE UNIQUE INDEX events_key ON events (event_key, cluster);
CREATE INDEX events_incident ON events (incident_id, id);
CREATE INDEX events_firing ON events (incident_id) WHERE status = 'firing';
CREATE INDEX events_active ON events (namespace, type) WHERE status = 'firing';
-- Lists: each filter alone and the pairs that are common, in the order of time; and the other orders.
CREATE INDEX events_at ON events (at, id);
CREATE INDEX events_namespace_at ON events (namespace, at, id);
CREATE INDEX events_type_at ON events (type, at, id);
CREATE INDEX events_namespace_type_at ON events (namespace, type, at, id);
CREATE INDEX events_status_at ON events (status, at, id);
CREATE INDEX events_namespace_status_at ON events (namespace, status, at, id);
CREATE INDEX events_name_at ON events (name, at, id);
CREATE INDEX events_namespace_name_at ON events (namespace, name, at, id);
CREATE INDEX events_workload_at ON events (workload, at, id);

CREATE TABLE deliveries (
  id          TEXT PRIMARY KEY,
  seq         BIGINT NOT NULL,
  cluster     TEXT NOT NULL,
  state       TEXT NOT NULL,
  hook_ns     TEXT NOT NULL,
  hook        TEXT NOT NULL,
  hook_uid    TEXT NOT NULL,
  config      TEXT NOT NULL,
  type        TEXT NOT NULL,
  grp         TEXT NOT NULL,
  agent_ns    TEXT NOT NULL,
  agent       TEXT NOT NULL,
  incident_id TEXT NOT NULL,
  catch_up    BIGINT NOT NULL,
  timeout     BIGINT NOT NULL,
  attempt     BIGINT NOT NULL,
  created_at  BIGINT NOT NULL,
  next_at     BIGINT NOT NULL,
  called_at   BIGINT NOT NULL,
  ended_at    BIGINT NOT NULL,
  dialect     TEXT NOT NULL,
  context_id  TEXT NOT NULL,
  task_id     TEXT NOT NULL,
  task_state  TEXT NOT NULL,
  error       TEXT NOT NULL,
  outcome     TEXT NOT NULL,
  outcome_at  BIGINT NOT NULL,
  -- The long texts come last, so that a list need not read past them.
  prompt      TEXT NOT NULL,
  data        TEXT NOT NULL,
  answer      TEXT NOT NULL
);
CREATE INDEX deliveries_group ON deliveries (cluster, hook_ns, hook, config, grp, created_at);
CREATE INDEX deliveries_hook ON deliveries (cluster, hook_ns, hook, created_at);
CREATE INDEX deliveries_config ON deliveries (cluster, hook_ns, hook, config, created_at);
CREATE INDEX deliveries_created ON deliveries (created_at, id);
CREATE INDEX deliveries_unfinished ON deliveries (cluster, created_at) WHERE ended_at = 0;
CREATE INDEX deliveries_unverified ON deliveries (cluster, ended_at) WHERE outcome = '';
CREATE INDEX deliveries_incident ON deliveries (incident_id);
-- Lists, and the times of a hook's deliveries without their texts.
CREATE INDEX deliveries_namespace ON deliveries (hook_ns, created_at, id);
CREATE INDEX deliveries_state ON deliveries (state, created_at, id);
CREATE INDEX deliveries_times ON deliveries (hook_ns, hook, created_at, id, state, called_at, ended_at, outcome, outcome_at);

CREATE TABLE decisions (
  event_id    BIGINT NOT NULL,
  event_at    BIGINT NOT NULL,
  type        TEXT NOT NULL,
  leads       BIGINT NOT NULL, -- 1 for one of the decisions of a hook about an event, 0 for the others
  incident_id TEXT NOT NULL,
  hook_ns     TEXT NOT NULL,
  hook        TEXT NOT NULL,
  config      TEXT NOT NULL,
  disposition TEXT NOT NULL,
  delivery_id TEXT NOT NULL,
  at          BIGINT NOT NULL,
  PRIMARY KEY (event_id, hook_ns, hook, config)
);
CREATE INDEX decisions_hook ON decisions (hook_ns, hook, event_at, event_id) WHERE leads = 1;
CREATE INDEX decisions_hook_type ON decisions (hook_ns, hook, type, event_at, event_id) WHERE leads = 1;
CREATE INDEX decisions_delivery ON decisions (delivery_id, incident_id) WHERE delivery_id <> '';

-- Which incidents concern which hooks, once each.
CREATE TABLE hook_incidents (
  hook_ns     TEXT NOT NULL,
  hook        TEXT NOT NULL,
  incident_id TEXT NOT NULL,
  hook_uid    TEXT NOT NULL,
  PRIMARY KEY (incident_id, hook_ns, hook)
);
CREATE INDEX hook_incidents_hook ON hook_incidents (hook_ns, hook, incident_id);

-- The change log: every change of an event, incident or delivery, in order, without gaps in effect.
CREATE TABLE changes (
  seq   BIGINT PRIMARY KEY,
  kind  TEXT NOT NULL,
  id    TEXT NOT NULL,
  state TEXT NOT NULL,
  at    BIGINT NOT NULL
);

-- The counters. Each span of 1 or 60 minutes that something happened in has a row; start is the
-- number of its first minute since 1970. The namespace '*' counts all namespaces together, the type
-- '*' all types that are events of their own, for trends by namespace.
CREATE TABLE event_counts (
  span      BIGINT NOT NULL,
  namespace TEXT NOT NULL,
  start     BIGINT NOT NULL,
  cluster   TEXT NOT NULL,
  type      TEXT NOT NULL,
  status    TEXT NOT NULL,
  n         BIGINT NOT NULL,
  PRIMARY KEY (span, namespace, start, cluster, type, status)
);
CREATE INDEX event_counts_start ON event_counts (span, start);
CREATE INDEX event_counts_total ON event_counts (span, start, namespace) WHERE type = '*';
CREATE TABLE hook_counts (
  span    BIGINT NOT NULL,
  hook_ns TEXT NOT NULL,
  hook    TEXT NOT NULL,
  start   BIGINT NOT NULL,
  cluster TEXT NOT NULL,
  config  TEXT NOT NULL,
  name    TEXT NOT NULL,
  n       BIGINT NOT NULL,
  PRIMARY KEY (span, hook_ns, hook, start, cluster, config, name)
);
CREATE INDEX hook_counts_start ON hook_counts (span, start);

CREATE TABLE meta (
  name  TEXT PRIMARY KEY,
  value BIGINT NOT NULL
);
INSERT INTO meta (name, value) VALUES ('seq', 0);

-- +goose Down
DROP TABLE meta;
DROP TABLE hook_counts;
DROP TABLE event_counts;
DROP TABLE changes;
DROP TABLE hook_incidents;
DROP TABLE decisions;
DROP TABLE deliveries;
DROP TABLE events;
DROP TABLE incidents;
