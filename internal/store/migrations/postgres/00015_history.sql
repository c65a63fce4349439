-- +goose Up
-- What SQLite's migrations up to this number come to, in one step. Times are microseconds since 1970 in UTC, 0 for none.
--
-- COLLATE "C": texts are compared byte by byte, as SQLite and Go do. By the rules of a language, which are those of most
-- databases, pages and ranges of IDs would go by another order than khook's; and indexes would break when the rules change.

-- A row for each cluster, which is locked by each transaction of its leader.
CREATE TABLE clusters (
  no      INTEGER PRIMARY KEY CHECK (no BETWEEN 0 AND 1023),
  name    TEXT COLLATE "C" NOT NULL,
  uid     TEXT COLLATE "C" NOT NULL,
  salt    TEXT COLLATE "C" NOT NULL,
  seq     BIGINT NOT NULL,
  term    BIGINT NOT NULL,
  checked BIGINT NOT NULL
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX clusters_name ON clusters (name);
CREATE UNIQUE INDEX clusters_salt ON clusters (salt);

CREATE TABLE incidents (
  cluster       INTEGER NOT NULL,
  id            TEXT COLLATE "C" NOT NULL,
  seq           BIGINT NOT NULL,
  type          TEXT COLLATE "C" NOT NULL,
  kind          TEXT COLLATE "C" NOT NULL,
  namespace     TEXT COLLATE "C" NOT NULL,
  name          TEXT COLLATE "C" NOT NULL,
  uid           TEXT COLLATE "C" NOT NULL,
  container     TEXT COLLATE "C" NOT NULL,
  workload_kind TEXT COLLATE "C" NOT NULL,
  workload      TEXT COLLATE "C" NOT NULL,
  node          TEXT COLLATE "C" NOT NULL,
  labels        TEXT COLLATE "C" NOT NULL,
  first_seen    BIGINT NOT NULL,
  last_seen     BIGINT NOT NULL,
  resolved_at   BIGINT NOT NULL,
  resolution    TEXT COLLATE "C" NOT NULL,
  caused_by     TEXT COLLATE "C" NOT NULL,
  events        BIGINT NOT NULL,
  duplicates    BIGINT NOT NULL,
  reason        TEXT COLLATE "C" NOT NULL,
  message       TEXT COLLATE "C" NOT NULL,
  restart_count BIGINT NOT NULL,
  exit_code     BIGINT,
  observed_at   BIGINT NOT NULL,
  unheard_since BIGINT NOT NULL,
  quiet_at      BIGINT NOT NULL,
  reopened_at   BIGINT NOT NULL,
  reopenings    BIGINT NOT NULL,
  PRIMARY KEY (cluster, id)
);
CREATE INDEX incidents_open ON incidents (cluster, last_seen, id) WHERE resolution = '';
CREATE INDEX incidents_resolved ON incidents (cluster, resolved_at) WHERE resolution <> '';
CREATE INDEX incidents_first_seen ON incidents (cluster, first_seen, id);
CREATE INDEX incidents_namespace ON incidents (cluster, namespace, first_seen, id);
CREATE INDEX incidents_type ON incidents (cluster, type, first_seen, id);
CREATE INDEX incidents_name ON incidents (cluster, name, first_seen, id);
CREATE INDEX incidents_workload ON incidents (cluster, workload, first_seen, id);
CREATE INDEX incidents_firing ON incidents (cluster, first_seen, id) WHERE resolution = '';
CREATE INDEX incidents_caused_by ON incidents (cluster, caused_by) WHERE caused_by <> '';
CREATE INDEX incidents_problem ON incidents (cluster, uid, type, container);
CREATE INDEX incidents_quiet_at ON incidents (cluster, resolved_at) WHERE resolution = 'quiet';
CREATE INDEX incidents_namespace_type ON incidents (cluster, namespace, type, first_seen, id);

CREATE TABLE events (
  cluster       INTEGER NOT NULL,
  id            BIGINT NOT NULL,
  event_key     TEXT COLLATE "C" NOT NULL,
  incident_id   TEXT COLLATE "C" NOT NULL,
  type          TEXT COLLATE "C" NOT NULL,
  status        TEXT COLLATE "C" NOT NULL,
  at            BIGINT NOT NULL,
  recorded_at   BIGINT NOT NULL,
  kind          TEXT COLLATE "C" NOT NULL,
  namespace     TEXT COLLATE "C" NOT NULL,
  name          TEXT COLLATE "C" NOT NULL,
  uid           TEXT COLLATE "C" NOT NULL,
  container     TEXT COLLATE "C" NOT NULL,
  workload_kind TEXT COLLATE "C" NOT NULL,
  workload      TEXT COLLATE "C" NOT NULL,
  node          TEXT COLLATE "C" NOT NULL,
  reason        TEXT COLLATE "C" NOT NULL,
  message       TEXT COLLATE "C" NOT NULL,
  restart_count BIGINT NOT NULL,
  exit_code     BIGINT,
  count         BIGINT NOT NULL,
  PRIMARY KEY (cluster, id)
);
CREATE UNIQUE INDEX events_key ON events (cluster, event_key);
CREATE INDEX events_incident ON events (cluster, incident_id, id);
CREATE INDEX events_firing ON events (cluster, incident_id) WHERE status = 'firing';
CREATE INDEX events_active ON events (cluster, namespace, type) WHERE status = 'firing';
CREATE INDEX events_at ON events (cluster, at, id);
CREATE INDEX events_namespace_at ON events (cluster, namespace, at, id);
CREATE INDEX events_type_at ON events (cluster, type, at, id);
CREATE INDEX events_namespace_type_at ON events (cluster, namespace, type, at, id);
CREATE INDEX events_status_at ON events (cluster, status, at, id);
CREATE INDEX events_namespace_status_at ON events (cluster, namespace, status, at, id);
CREATE INDEX events_name_at ON events (cluster, name, at, id);
CREATE INDEX events_namespace_name_at ON events (cluster, namespace, name, at, id);
CREATE INDEX events_workload_at ON events (cluster, workload, at, id);

CREATE TABLE deliveries (
  cluster             INTEGER NOT NULL,
  id                  TEXT COLLATE "C" NOT NULL,
  seq                 BIGINT NOT NULL,
  state               TEXT COLLATE "C" NOT NULL,
  hook_ns             TEXT COLLATE "C" NOT NULL,
  hook                TEXT COLLATE "C" NOT NULL,
  hook_uid            TEXT COLLATE "C" NOT NULL,
  config              TEXT COLLATE "C" NOT NULL,
  type                TEXT COLLATE "C" NOT NULL,
  grp                 TEXT COLLATE "C" NOT NULL,
  agent_ns            TEXT COLLATE "C" NOT NULL,
  agent               TEXT COLLATE "C" NOT NULL,
  incident_id         TEXT COLLATE "C" NOT NULL,
  catch_up            BIGINT NOT NULL,
  timeout             BIGINT NOT NULL,
  attempt             BIGINT NOT NULL,
  created_at          BIGINT NOT NULL,
  next_at             BIGINT NOT NULL,
  called_at           BIGINT NOT NULL,
  ended_at            BIGINT NOT NULL,
  dialect             TEXT COLLATE "C" NOT NULL,
  context_id          TEXT COLLATE "C" NOT NULL,
  task_id             TEXT COLLATE "C" NOT NULL,
  task_state          TEXT COLLATE "C" NOT NULL,
  outcome             TEXT COLLATE "C" NOT NULL,
  outcome_at          BIGINT NOT NULL,
  skipped             TEXT COLLATE "C" NOT NULL,
  retry_of            TEXT COLLATE "C" NOT NULL,
  requested_by        TEXT COLLATE "C" NOT NULL,
  cancel_requested_by TEXT COLLATE "C" NOT NULL,
  even_if_recovered   BIGINT NOT NULL,
  verify_window       BIGINT NOT NULL,
  needs_approval      BIGINT NOT NULL,
  replies             BIGINT NOT NULL,
  question_id         TEXT COLLATE "C" NOT NULL,
  failure             TEXT COLLATE "C" NOT NULL,
  workload            TEXT COLLATE "C" NOT NULL,
  sent_at             BIGINT NOT NULL,
  sent_dialect        TEXT COLLATE "C" NOT NULL,
  sent_user           TEXT COLLATE "C" NOT NULL,
  sent_url            TEXT COLLATE "C" NOT NULL,
  sent_flags          BIGINT NOT NULL,
  sent_missed         BIGINT NOT NULL,
  sent_looks          BIGINT NOT NULL,
  cancel_tries        BIGINT NOT NULL,
  cancel_at           BIGINT NOT NULL,
  verify_until        BIGINT NOT NULL,
  recovered_at        BIGINT NOT NULL,
  stall_after         BIGINT NOT NULL,
  on_stall            TEXT COLLATE "C" NOT NULL,
  heard_at            BIGINT NOT NULL,
  heard_sum           BIGINT NOT NULL,
  stalled_since       BIGINT NOT NULL,
  stop                TEXT COLLATE "C" NOT NULL,
  stop_at             BIGINT NOT NULL,
  total_tokens        BIGINT NOT NULL,
  prompt_tokens       BIGINT NOT NULL,
  completion_tokens   BIGINT NOT NULL,
  error               TEXT COLLATE "C" NOT NULL,
  held_back           TEXT COLLATE "C" NOT NULL,
  reply               TEXT COLLATE "C" NOT NULL,
  question            TEXT COLLATE "C" NOT NULL,
  prompt              TEXT COLLATE "C" NOT NULL,
  data                TEXT COLLATE "C" NOT NULL,
  answer              TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (cluster, id)
);
CREATE INDEX deliveries_hook ON deliveries (cluster, hook_ns, hook, created_at);
CREATE INDEX deliveries_budget ON deliveries (cluster, created_at) WHERE skipped = '';
CREATE INDEX deliveries_created ON deliveries (cluster, created_at, id);
CREATE INDEX deliveries_unfinished ON deliveries (cluster, created_at) WHERE ended_at = 0;
CREATE INDEX deliveries_incident ON deliveries (cluster, incident_id);
CREATE INDEX deliveries_namespace ON deliveries (cluster, hook_ns, created_at, id);
CREATE INDEX deliveries_state ON deliveries (cluster, state, created_at, id);
CREATE INDEX deliveries_workload ON deliveries (cluster, hook_ns, hook, config, workload, created_at) WHERE skipped = '';
CREATE INDEX deliveries_group ON deliveries (cluster, hook_ns, hook, config, grp, created_at) WHERE skipped = '';
CREATE INDEX deliveries_config ON deliveries (cluster, hook_ns, hook, config, created_at) WHERE skipped = '';
CREATE INDEX deliveries_hook_called ON deliveries (cluster, hook_ns, hook, created_at) WHERE skipped = '';
CREATE INDEX deliveries_unverified ON deliveries (cluster, verify_until) WHERE outcome = '' AND verify_until > 0;
CREATE INDEX deliveries_times ON deliveries (cluster, hook_ns, hook, created_at, id, state, called_at, ended_at, outcome, outcome_at, verify_until);
CREATE INDEX deliveries_calls ON deliveries (cluster, hook_ns, workload, created_at) WHERE skipped = '';
CREATE INDEX deliveries_stalled ON deliveries (cluster, created_at, id) WHERE stalled_since > 0;
CREATE INDEX deliveries_stalled_hook ON deliveries (cluster, hook_ns, hook, stalled_since) WHERE stalled_since > 0;
CREATE INDEX deliveries_tokens ON deliveries (cluster, hook_ns, hook, created_at, total_tokens) WHERE total_tokens > 0;

CREATE TABLE delivery_incidents (
  cluster     INTEGER NOT NULL,
  delivery_id TEXT COLLATE "C" NOT NULL,
  incident_id TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (cluster, delivery_id, incident_id)
);
CREATE INDEX delivery_incidents_incident ON delivery_incidents (cluster, incident_id, delivery_id);

CREATE TABLE delivery_log (
  cluster     INTEGER NOT NULL,
  delivery_id TEXT COLLATE "C" NOT NULL,
  n           BIGINT NOT NULL,
  source      TEXT COLLATE "C" NOT NULL,
  at          BIGINT NOT NULL,
  kind        TEXT COLLATE "C" NOT NULL,
  state       TEXT COLLATE "C" NOT NULL,
  who         TEXT COLLATE "C" NOT NULL,
  name        TEXT COLLATE "C" NOT NULL,
  text        TEXT COLLATE "C" NOT NULL,
  cut         BIGINT NOT NULL,
  PRIMARY KEY (cluster, delivery_id, n)
);
CREATE UNIQUE INDEX delivery_log_source ON delivery_log (cluster, delivery_id, source) WHERE source <> '';

CREATE TABLE delivery_groups (
  cluster      INTEGER NOT NULL,
  hook_ns      TEXT COLLATE "C" NOT NULL,
  hook         TEXT COLLATE "C" NOT NULL,
  config       TEXT COLLATE "C" NOT NULL,
  grp          TEXT COLLATE "C" NOT NULL,
  hook_uid     TEXT COLLATE "C" NOT NULL,
  over_budget  BIGINT NOT NULL,
  loop_guard   BIGINT NOT NULL,
  held_since   BIGINT NOT NULL,
  held_until   BIGINT NOT NULL,
  hold         TEXT COLLATE "C" NOT NULL,
  why          TEXT COLLATE "C" NOT NULL,
  hold_ends    BIGINT NOT NULL,
  needs_person BIGINT NOT NULL,
  resumed_at   BIGINT NOT NULL,
  resumed_by   TEXT COLLATE "C" NOT NULL,
  resources    TEXT COLLATE "C" NOT NULL,
  paused       BIGINT NOT NULL,
  PRIMARY KEY (cluster, hook_ns, hook, config, grp)
);
CREATE INDEX delivery_groups_held ON delivery_groups (cluster, hold_ends) WHERE hold <> '';
CREATE INDEX delivery_groups_ends ON delivery_groups (cluster, hold_ends);
CREATE INDEX delivery_groups_held_keys ON delivery_groups (cluster, hook_ns, hook, config, grp) WHERE hold <> '';

CREATE TABLE decisions (
  cluster     INTEGER NOT NULL,
  event_id    BIGINT NOT NULL,
  event_at    BIGINT NOT NULL,
  type        TEXT COLLATE "C" NOT NULL,
  leads       BIGINT NOT NULL,
  incident_id TEXT COLLATE "C" NOT NULL,
  hook_ns     TEXT COLLATE "C" NOT NULL,
  hook        TEXT COLLATE "C" NOT NULL,
  config      TEXT COLLATE "C" NOT NULL,
  disposition TEXT COLLATE "C" NOT NULL,
  delivery_id TEXT COLLATE "C" NOT NULL,
  at          BIGINT NOT NULL,
  made_for    TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (cluster, event_id, hook_ns, hook, config)
);
CREATE INDEX decisions_hook ON decisions (cluster, hook_ns, hook, event_at, event_id) WHERE leads = 1;
CREATE INDEX decisions_hook_type ON decisions (cluster, hook_ns, hook, type, event_at, event_id) WHERE leads = 1;
CREATE INDEX decisions_delivery ON decisions (cluster, delivery_id, incident_id) WHERE delivery_id <> '';
CREATE INDEX decisions_without_event ON decisions (cluster, incident_id) WHERE made_for <> 'event';

CREATE TABLE hook_incidents (
  cluster     INTEGER NOT NULL,
  hook_ns     TEXT COLLATE "C" NOT NULL,
  hook        TEXT COLLATE "C" NOT NULL,
  incident_id TEXT COLLATE "C" NOT NULL,
  hook_uid    TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (cluster, incident_id, hook_ns, hook)
);
CREATE INDEX hook_incidents_hook ON hook_incidents (cluster, hook_ns, hook, incident_id);

CREATE TABLE hook_configs (
  cluster   INTEGER NOT NULL,
  hook_ns   TEXT COLLATE "C" NOT NULL,
  hook      TEXT COLLATE "C" NOT NULL,
  config    TEXT COLLATE "C" NOT NULL,
  position  BIGINT NOT NULL,
  content   TEXT COLLATE "C" NOT NULL,
  type      TEXT COLLATE "C" NOT NULL,
  agent_ns  TEXT COLLATE "C" NOT NULL,
  agent     TEXT COLLATE "C" NOT NULL,
  edited_at BIGINT NOT NULL,
  saved_at  BIGINT NOT NULL,
  PRIMARY KEY (cluster, hook_ns, hook, config)
);
CREATE INDEX hook_configs_saved ON hook_configs (cluster, saved_at);

CREATE TABLE changes (
  cluster INTEGER NOT NULL,
  seq     BIGINT NOT NULL,
  kind    TEXT COLLATE "C" NOT NULL,
  id      TEXT COLLATE "C" NOT NULL,
  state   TEXT COLLATE "C" NOT NULL,
  at      BIGINT NOT NULL,
  PRIMARY KEY (cluster, seq)
);

CREATE TABLE event_counts (
  cluster   INTEGER NOT NULL,
  span      BIGINT NOT NULL,
  namespace TEXT COLLATE "C" NOT NULL,
  start     BIGINT NOT NULL,
  type      TEXT COLLATE "C" NOT NULL,
  status    TEXT COLLATE "C" NOT NULL,
  n         BIGINT NOT NULL,
  PRIMARY KEY (cluster, span, namespace, start, type, status)
);
CREATE INDEX event_counts_start ON event_counts (cluster, span, start);
CREATE INDEX event_counts_total ON event_counts (cluster, span, start, namespace) WHERE type = '*';

CREATE TABLE hook_counts (
  cluster INTEGER NOT NULL,
  span    BIGINT NOT NULL,
  hook_ns TEXT COLLATE "C" NOT NULL,
  hook    TEXT COLLATE "C" NOT NULL,
  start   BIGINT NOT NULL,
  config  TEXT COLLATE "C" NOT NULL,
  name    TEXT COLLATE "C" NOT NULL,
  n       BIGINT NOT NULL,
  PRIMARY KEY (cluster, span, hook_ns, hook, start, config, name)
);
CREATE INDEX hook_counts_start ON hook_counts (cluster, span, start);

CREATE TABLE pauses (
  cluster   INTEGER NOT NULL,
  namespace TEXT COLLATE "C" NOT NULL,
  hook      TEXT COLLATE "C" NOT NULL,
  reason    TEXT COLLATE "C" NOT NULL,
  paused_by TEXT COLLATE "C" NOT NULL,
  paused_at BIGINT NOT NULL,
  ends_at   BIGINT NOT NULL,
  cancel    BIGINT NOT NULL,
  PRIMARY KEY (cluster, namespace, hook)
);

CREATE TABLE notices (
  cluster     INTEGER NOT NULL,
  notifier    TEXT COLLATE "C" NOT NULL,
  id          TEXT COLLATE "C" NOT NULL,
  kind        TEXT COLLATE "C" NOT NULL,
  about       TEXT COLLATE "C" NOT NULL,
  subject     TEXT COLLATE "C" NOT NULL,
  hook_ns     TEXT COLLATE "C" NOT NULL,
  hook        TEXT COLLATE "C" NOT NULL,
  type        TEXT COLLATE "C" NOT NULL,
  namespace   TEXT COLLATE "C" NOT NULL,
  config      TEXT COLLATE "C" NOT NULL,
  grp         TEXT COLLATE "C" NOT NULL,
  delivery_id TEXT COLLATE "C" NOT NULL,
  incident_id TEXT COLLATE "C" NOT NULL,
  at          BIGINT NOT NULL,
  state       TEXT COLLATE "C" NOT NULL,
  message     TEXT COLLATE "C" NOT NULL,
  attempt     BIGINT NOT NULL,
  due_at      BIGINT NOT NULL,
  ended_at    BIGINT NOT NULL,
  error       TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (cluster, notifier, id)
);
CREATE INDEX notices_waiting ON notices (cluster, notifier, due_at) WHERE ended_at = 0;
CREATE INDEX notices_ended ON notices (cluster, ended_at) WHERE ended_at > 0;
CREATE INDEX notices_incident ON notices (cluster, incident_id, ended_at);

CREATE TABLE notifiers (
  cluster INTEGER NOT NULL,
  name    TEXT COLLATE "C" NOT NULL,
  seq     BIGINT NOT NULL,
  PRIMARY KEY (cluster, name)
);

CREATE TABLE dead_letters (
  cluster  INTEGER NOT NULL,
  id       TEXT COLLATE "C" NOT NULL,
  first_at BIGINT NOT NULL,
  last_at  BIGINT NOT NULL,
  times    BIGINT NOT NULL,
  fault    TEXT COLLATE "C" NOT NULL,
  error    TEXT COLLATE "C" NOT NULL,
  recorded BIGINT NOT NULL,
  wanted   BIGINT NOT NULL,
  size     BIGINT NOT NULL,
  signal   TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (cluster, id)
);
CREATE INDEX dead_letters_last ON dead_letters (cluster, last_at, id, size);
CREATE INDEX dead_letters_wanted ON dead_letters (cluster, last_at) WHERE wanted = 1;

-- The newest commit of each process that writes, by which it finds out what became of a commit whose answer was lost.
CREATE TABLE commits (
  writer TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  n      BIGINT NOT NULL,
  at     BIGINT NOT NULL
) WITH (fillfactor = 50);
