-- +goose Up
-- Every row says of which cluster it is, by the cluster's number, and every key and index begins with it: clusters that share a database
-- never meet. A cluster's row has what there is once for each: salt, from which its IDs are derived and which never changes; seq, the newest number
-- of its change log; term, that of its leader.
--
-- A file had the history of one khook, which may have given its cluster several names in the course of time. It becomes the history of number 0,
-- whose name and salt are those of the newest incident, so that no ID changes. What was open under another name had been given up when the name
-- changed: it ends here. Where there is nothing yet, khook makes the cluster's row when it opens the history.

CREATE TABLE clusters (
  no         INTEGER PRIMARY KEY CHECK (no BETWEEN 0 AND 1023),
  name       TEXT   NOT NULL,
  uid        TEXT   NOT NULL,
  salt       TEXT   NOT NULL,
  seq        BIGINT NOT NULL,
  term       BIGINT NOT NULL,
  checked BIGINT NOT NULL
);
CREATE UNIQUE INDEX clusters_name ON clusters (name);
CREATE UNIQUE INDEX clusters_salt ON clusters (salt);
INSERT INTO clusters (no, name, uid, salt, seq, term, checked)
  SELECT 0, name, '', name, coalesce((SELECT value FROM meta WHERE name = 'seq'), 0), coalesce((SELECT value FROM meta WHERE name = 'term'), 0), 0
  FROM (SELECT coalesce((SELECT cluster FROM incidents ORDER BY seq DESC LIMIT 1),
    (SELECT cluster FROM hook_configs ORDER BY saved_at DESC LIMIT 1), (SELECT cluster FROM pauses LIMIT 1), '') AS name) AS newest
  WHERE EXISTS (SELECT 1 FROM meta WHERE name = 'seq' AND value > 0) OR EXISTS (SELECT 1 FROM hook_configs) OR EXISTS (SELECT 1 FROM pauses)
    OR EXISTS (SELECT 1 FROM notifiers);
DROP TABLE meta;

CREATE TABLE incidents_new (
  cluster       INTEGER NOT NULL,
  id            TEXT NOT NULL,
  seq           BIGINT NOT NULL,
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
  exit_code     BIGINT,
  observed_at   BIGINT NOT NULL,
  unheard_since BIGINT NOT NULL,
  quiet_at      BIGINT NOT NULL,
  reopened_at   BIGINT NOT NULL,
  reopenings    BIGINT NOT NULL,
  PRIMARY KEY (cluster, id)
);
INSERT INTO incidents_new (cluster, id, seq, type, kind, namespace, name, uid, container, workload_kind, workload, node, labels, first_seen, last_seen, resolved_at, resolution,
  caused_by, events, duplicates, reason, message, restart_count, exit_code, observed_at, unheard_since, quiet_at, reopened_at, reopenings)
  SELECT 0, id, seq, type, kind, namespace, name, uid, container, workload_kind, workload, node, labels, first_seen, last_seen, CASE WHEN resolution = '' AND
  cluster <> (SELECT name FROM clusters WHERE no = 0) THEN last_seen ELSE resolved_at END, CASE WHEN resolution = '' AND cluster <> (SELECT name FROM
  clusters WHERE no = 0) THEN 'quiet' ELSE resolution END, caused_by, events, duplicates, reason, message, restart_count, exit_code, observed_at,
  unheard_since, quiet_at, reopened_at, reopenings
  FROM incidents;
DROP TABLE incidents;
ALTER TABLE incidents_new RENAME TO incidents;
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

CREATE TABLE events_new (
  cluster       INTEGER NOT NULL,
  id            BIGINT NOT NULL,
  event_key     TEXT NOT NULL,
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
  count         BIGINT NOT NULL,
  PRIMARY KEY (cluster, id)
);
INSERT INTO events_new (cluster, id, event_key, incident_id, type, status, at, recorded_at, kind, namespace, name, uid, container, workload_kind, workload, node, reason, message,
  restart_count, exit_code, count)
  SELECT 0, id, CASE WHEN cluster <> (SELECT name FROM clusters WHERE no = 0) AND EXISTS (SELECT 1 FROM events o WHERE o.event_key = events.event_key AND
  o.cluster <> events.cluster) THEN event_key || ' of cluster ' || cluster ELSE event_key END, incident_id, type, CASE WHEN status = 'firing' AND
  cluster <> (SELECT name FROM clusters WHERE no = 0) THEN 'resolved' ELSE status END, at, recorded_at, kind, namespace, name, uid, container,
  workload_kind, workload, node, reason, message, restart_count, exit_code, count
  FROM events;
DROP TABLE events;
ALTER TABLE events_new RENAME TO events;
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

CREATE TABLE deliveries_new (
  cluster             INTEGER NOT NULL,
  id                  TEXT NOT NULL,
  seq                 BIGINT NOT NULL,
  state               TEXT NOT NULL,
  hook_ns             TEXT NOT NULL,
  hook                TEXT NOT NULL,
  hook_uid            TEXT NOT NULL,
  config              TEXT NOT NULL,
  type                TEXT NOT NULL,
  grp                 TEXT NOT NULL,
  agent_ns            TEXT NOT NULL,
  agent               TEXT NOT NULL,
  incident_id         TEXT NOT NULL,
  catch_up            BIGINT NOT NULL,
  timeout             BIGINT NOT NULL,
  attempt             BIGINT NOT NULL,
  created_at          BIGINT NOT NULL,
  next_at             BIGINT NOT NULL,
  called_at           BIGINT NOT NULL,
  ended_at            BIGINT NOT NULL,
  dialect             TEXT NOT NULL,
  context_id          TEXT NOT NULL,
  task_id             TEXT NOT NULL,
  task_state          TEXT NOT NULL,
  outcome             TEXT NOT NULL,
  outcome_at          BIGINT NOT NULL,
  skipped             TEXT NOT NULL,
  retry_of            TEXT NOT NULL,
  requested_by        TEXT NOT NULL,
  cancel_requested_by TEXT NOT NULL,
  even_if_recovered   BIGINT NOT NULL,
  verify_window       BIGINT NOT NULL,
  needs_approval      BIGINT NOT NULL,
  replies             BIGINT NOT NULL,
  question_id         TEXT NOT NULL,
  failure             TEXT NOT NULL,
  workload            TEXT NOT NULL,
  sent_at             BIGINT NOT NULL,
  sent_dialect        TEXT NOT NULL,
  sent_user           TEXT NOT NULL,
  sent_url            TEXT NOT NULL,
  sent_flags          BIGINT NOT NULL,
  sent_missed         BIGINT NOT NULL,
  sent_looks          BIGINT NOT NULL,
  cancel_tries        BIGINT NOT NULL,
  cancel_at           BIGINT NOT NULL,
  verify_until        BIGINT NOT NULL,
  recovered_at        BIGINT NOT NULL,
  stall_after         BIGINT NOT NULL,
  on_stall            TEXT NOT NULL,
  heard_at            BIGINT NOT NULL,
  heard_sum           BIGINT NOT NULL,
  stalled_since       BIGINT NOT NULL,
  stop                TEXT NOT NULL,
  stop_at             BIGINT NOT NULL,
  total_tokens        BIGINT NOT NULL,
  prompt_tokens       BIGINT NOT NULL,
  completion_tokens   BIGINT NOT NULL,
  error               TEXT NOT NULL,
  held_back           TEXT NOT NULL,
  reply               TEXT NOT NULL,
  question            TEXT NOT NULL,
  prompt              TEXT NOT NULL,
  data                TEXT NOT NULL,
  answer              TEXT NOT NULL,
  PRIMARY KEY (cluster, id)
);
INSERT INTO deliveries_new (cluster, id, seq, state, hook_ns, hook, hook_uid, config, type, grp, agent_ns, agent, incident_id, catch_up, timeout, attempt, created_at, next_at, called_at,
  ended_at, dialect, context_id, task_id, task_state, outcome, outcome_at, skipped, retry_of, requested_by, cancel_requested_by, even_if_recovered,
  verify_window, needs_approval, replies, question_id, failure, workload, sent_at, sent_dialect, sent_user, sent_url, sent_flags, sent_missed,
  sent_looks, cancel_tries, cancel_at, verify_until, recovered_at, stall_after, on_stall, heard_at, heard_sum, stalled_since, stop, stop_at,
  total_tokens, prompt_tokens, completion_tokens, error, held_back, reply, question, prompt, data, answer)
  SELECT 0, id, seq, CASE WHEN ended_at = 0 AND cluster <> (SELECT name FROM clusters WHERE no = 0) THEN 'canceled' ELSE state END, hook_ns, hook, hook_uid,
  config, type, grp, agent_ns, agent, incident_id, catch_up, timeout, attempt, created_at, next_at, called_at, CASE WHEN ended_at = 0 AND cluster <>
  (SELECT name FROM clusters WHERE no = 0) THEN max(created_at, called_at) ELSE ended_at END, dialect, context_id, task_id, task_state, outcome,
  outcome_at, skipped, retry_of, requested_by, cancel_requested_by, even_if_recovered, verify_window, needs_approval, replies, question_id, CASE WHEN
  ended_at = 0 AND cluster <> (SELECT name FROM clusters WHERE no = 0) THEN 'the cluster was given another name while this was under way' ELSE failure
  END, workload, sent_at, sent_dialect, sent_user, sent_url, sent_flags, sent_missed, sent_looks, cancel_tries, cancel_at, CASE WHEN cluster <> (SELECT
  name FROM clusters WHERE no = 0) THEN 0 ELSE verify_until END, recovered_at, stall_after, on_stall, heard_at, heard_sum, CASE WHEN cluster <> (SELECT
  name FROM clusters WHERE no = 0) THEN 0 ELSE stalled_since END, stop, stop_at, total_tokens, prompt_tokens, completion_tokens, error, held_back,
  reply, question, prompt, data, answer
  FROM deliveries;
DROP TABLE deliveries;
ALTER TABLE deliveries_new RENAME TO deliveries;
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

CREATE TABLE delivery_incidents_new (
  cluster     INTEGER NOT NULL,
  delivery_id TEXT NOT NULL,
  incident_id TEXT NOT NULL,
  PRIMARY KEY (cluster, delivery_id, incident_id)
);
INSERT INTO delivery_incidents_new (cluster, delivery_id, incident_id)
  SELECT 0, delivery_id, incident_id
  FROM delivery_incidents;
DROP TABLE delivery_incidents;
ALTER TABLE delivery_incidents_new RENAME TO delivery_incidents;
CREATE INDEX delivery_incidents_incident ON delivery_incidents (cluster, incident_id, delivery_id);

CREATE TABLE delivery_log_new (
  cluster     INTEGER NOT NULL,
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
  PRIMARY KEY (cluster, delivery_id, n)
);
INSERT INTO delivery_log_new (cluster, delivery_id, n, source, at, kind, state, who, name, text, cut)
  SELECT 0, delivery_id, n, source, at, kind, state, who, name, text, cut
  FROM delivery_log;
DROP TABLE delivery_log;
ALTER TABLE delivery_log_new RENAME TO delivery_log;
CREATE UNIQUE INDEX delivery_log_source ON delivery_log (cluster, delivery_id, source) WHERE source <> '';

CREATE TABLE delivery_groups_new (
  cluster      INTEGER NOT NULL,
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
  paused       BIGINT NOT NULL,
  PRIMARY KEY (cluster, hook_ns, hook, config, grp)
);
INSERT OR IGNORE INTO delivery_groups_new (cluster, hook_ns, hook, config, grp, hook_uid, over_budget, loop_guard, held_since, held_until, hold, why, hold_ends, needs_person, resumed_at, resumed_by,
  resources, paused)
  SELECT 0, hook_ns, hook, config, grp, hook_uid, over_budget, loop_guard, held_since, held_until, hold, why, hold_ends, needs_person, resumed_at, resumed_by,
  resources, paused
  FROM delivery_groups ORDER BY cluster = (SELECT name FROM clusters WHERE no = 0) DESC;
DROP TABLE delivery_groups;
ALTER TABLE delivery_groups_new RENAME TO delivery_groups;
CREATE INDEX delivery_groups_held ON delivery_groups (cluster, hold_ends) WHERE hold <> '';
CREATE INDEX delivery_groups_ends ON delivery_groups (cluster, hold_ends);
CREATE INDEX delivery_groups_held_keys ON delivery_groups (cluster, hook_ns, hook, config, grp) WHERE hold <> '';

CREATE TABLE decisions_new (
  cluster     INTEGER NOT NULL,
  event_id    BIGINT NOT NULL,
  event_at    BIGINT NOT NULL,
  type        TEXT NOT NULL,
  leads       BIGINT NOT NULL,
  incident_id TEXT NOT NULL,
  hook_ns     TEXT NOT NULL,
  hook        TEXT NOT NULL,
  config      TEXT NOT NULL,
  disposition TEXT NOT NULL,
  delivery_id TEXT NOT NULL,
  at          BIGINT NOT NULL,
  made_for    TEXT NOT NULL,
  PRIMARY KEY (cluster, event_id, hook_ns, hook, config)
);
INSERT INTO decisions_new (cluster, event_id, event_at, type, leads, incident_id, hook_ns, hook, config, disposition, delivery_id, at, made_for)
  SELECT 0, event_id, event_at, type, leads, incident_id, hook_ns, hook, config, disposition, delivery_id, at, made_for
  FROM decisions;
DROP TABLE decisions;
ALTER TABLE decisions_new RENAME TO decisions;
CREATE INDEX decisions_hook ON decisions (cluster, hook_ns, hook, event_at, event_id) WHERE leads = 1;
CREATE INDEX decisions_hook_type ON decisions (cluster, hook_ns, hook, type, event_at, event_id) WHERE leads = 1;
CREATE INDEX decisions_delivery ON decisions (cluster, delivery_id, incident_id) WHERE delivery_id <> '';
CREATE INDEX decisions_without_event ON decisions (cluster, incident_id) WHERE made_for <> 'event';

CREATE TABLE hook_incidents_new (
  cluster     INTEGER NOT NULL,
  hook_ns     TEXT NOT NULL,
  hook        TEXT NOT NULL,
  incident_id TEXT NOT NULL,
  hook_uid    TEXT NOT NULL,
  PRIMARY KEY (cluster, incident_id, hook_ns, hook)
);
INSERT INTO hook_incidents_new (cluster, hook_ns, hook, incident_id, hook_uid)
  SELECT 0, hook_ns, hook, incident_id, hook_uid
  FROM hook_incidents;
DROP TABLE hook_incidents;
ALTER TABLE hook_incidents_new RENAME TO hook_incidents;
CREATE INDEX hook_incidents_hook ON hook_incidents (cluster, hook_ns, hook, incident_id);

CREATE TABLE hook_configs_new (
  cluster   INTEGER NOT NULL,
  hook_ns   TEXT NOT NULL,
  hook      TEXT NOT NULL,
  config    TEXT NOT NULL,
  position  BIGINT NOT NULL,
  content   TEXT NOT NULL,
  type      TEXT NOT NULL,
  agent_ns  TEXT NOT NULL,
  agent     TEXT NOT NULL,
  edited_at BIGINT NOT NULL,
  saved_at  BIGINT NOT NULL,
  PRIMARY KEY (cluster, hook_ns, hook, config)
);
INSERT INTO hook_configs_new (cluster, hook_ns, hook, config, position, content, type, agent_ns, agent, edited_at, saved_at)
  SELECT 0, hook_ns, hook, config, position, content, type, agent_ns, agent, edited_at, saved_at
  FROM hook_configs WHERE cluster = (SELECT c.cluster FROM hook_configs c WHERE c.hook_ns = hook_configs.hook_ns AND c.hook = hook_configs.hook ORDER BY c.saved_at DESC,
  c.cluster LIMIT 1);
DROP TABLE hook_configs;
ALTER TABLE hook_configs_new RENAME TO hook_configs;
CREATE INDEX hook_configs_saved ON hook_configs (cluster, saved_at);

CREATE TABLE changes_new (
  cluster INTEGER NOT NULL,
  seq     BIGINT NOT NULL,
  kind    TEXT NOT NULL,
  id      TEXT NOT NULL,
  state   TEXT NOT NULL,
  at      BIGINT NOT NULL,
  PRIMARY KEY (cluster, seq)
);
INSERT INTO changes_new (cluster, seq, kind, id, state, at)
  SELECT 0, seq, kind, id, state, at
  FROM changes;
DROP TABLE changes;
ALTER TABLE changes_new RENAME TO changes;

CREATE TABLE event_counts_new (
  cluster   INTEGER NOT NULL,
  span      BIGINT NOT NULL,
  namespace TEXT NOT NULL,
  start     BIGINT NOT NULL,
  type      TEXT NOT NULL,
  status    TEXT NOT NULL,
  n         BIGINT NOT NULL,
  PRIMARY KEY (cluster, span, namespace, start, type, status)
);
INSERT INTO event_counts_new (cluster, span, namespace, start, type, status, n)
  SELECT 0, span, namespace, start, type, status, sum(n)
  FROM event_counts GROUP BY span, namespace, start, type, status;
DROP TABLE event_counts;
ALTER TABLE event_counts_new RENAME TO event_counts;
CREATE INDEX event_counts_start ON event_counts (cluster, span, start);
CREATE INDEX event_counts_total ON event_counts (cluster, span, start, namespace) WHERE type = '*';

CREATE TABLE hook_counts_new (
  cluster INTEGER NOT NULL,
  span    BIGINT NOT NULL,
  hook_ns TEXT NOT NULL,
  hook    TEXT NOT NULL,
  start   BIGINT NOT NULL,
  config  TEXT NOT NULL,
  name    TEXT NOT NULL,
  n       BIGINT NOT NULL,
  PRIMARY KEY (cluster, span, hook_ns, hook, start, config, name)
);
INSERT INTO hook_counts_new (cluster, span, hook_ns, hook, start, config, name, n)
  SELECT 0, span, hook_ns, hook, start, config, name, sum(n)
  FROM hook_counts GROUP BY span, hook_ns, hook, start, config, name;
DROP TABLE hook_counts;
ALTER TABLE hook_counts_new RENAME TO hook_counts;
CREATE INDEX hook_counts_start ON hook_counts (cluster, span, start);

CREATE TABLE pauses_new (
  cluster   INTEGER NOT NULL,
  namespace TEXT NOT NULL,
  hook      TEXT NOT NULL,
  reason    TEXT NOT NULL,
  paused_by TEXT NOT NULL,
  paused_at BIGINT NOT NULL,
  ends_at   BIGINT NOT NULL,
  cancel    BIGINT NOT NULL,
  PRIMARY KEY (cluster, namespace, hook)
);
INSERT INTO pauses_new (cluster, namespace, hook, reason, paused_by, paused_at, ends_at, cancel)
  SELECT 0, namespace, hook, reason, paused_by, paused_at, ends_at, cancel
  FROM pauses WHERE cluster = (SELECT name FROM clusters WHERE no = 0);
DROP TABLE pauses;
ALTER TABLE pauses_new RENAME TO pauses;

CREATE TABLE notices_new (
  cluster     INTEGER NOT NULL,
  notifier    TEXT NOT NULL,
  id          TEXT NOT NULL,
  kind        TEXT NOT NULL,
  about       TEXT NOT NULL,
  subject     TEXT NOT NULL,
  hook_ns     TEXT NOT NULL,
  hook        TEXT NOT NULL,
  type        TEXT NOT NULL,
  namespace   TEXT NOT NULL,
  config      TEXT NOT NULL,
  grp         TEXT NOT NULL,
  delivery_id TEXT NOT NULL,
  incident_id TEXT NOT NULL,
  at          BIGINT NOT NULL,
  state       TEXT NOT NULL,
  message     TEXT NOT NULL,
  attempt     BIGINT NOT NULL,
  due_at      BIGINT NOT NULL,
  ended_at    BIGINT NOT NULL,
  error       TEXT NOT NULL,
  PRIMARY KEY (cluster, notifier, id)
);
INSERT OR IGNORE INTO notices_new (cluster, notifier, id, kind, about, subject, hook_ns, hook, type, namespace, config, grp, delivery_id, incident_id, at, state, message, attempt, due_at,
  ended_at, error)
  SELECT 0, notifier, id, kind, about, subject, hook_ns, hook, type, namespace, config, grp, delivery_id, incident_id, at, state, message, attempt, due_at,
  ended_at, error
  FROM notices WHERE cluster = (SELECT name FROM clusters WHERE no = 0) OR ended_at > 0 ORDER BY cluster = (SELECT name FROM clusters WHERE no = 0) DESC;
DROP TABLE notices;
ALTER TABLE notices_new RENAME TO notices;
CREATE INDEX notices_waiting ON notices (cluster, notifier, due_at) WHERE ended_at = 0;
CREATE INDEX notices_ended ON notices (cluster, ended_at) WHERE ended_at > 0;
CREATE INDEX notices_incident ON notices (cluster, incident_id, ended_at);

CREATE TABLE notifiers_new (
  cluster INTEGER NOT NULL,
  name    TEXT NOT NULL,
  seq     BIGINT NOT NULL,
  PRIMARY KEY (cluster, name)
);
INSERT INTO notifiers_new (cluster, name, seq)
  SELECT 0, name, seq
  FROM notifiers WHERE cluster = (SELECT name FROM clusters WHERE no = 0);
DROP TABLE notifiers;
ALTER TABLE notifiers_new RENAME TO notifiers;

CREATE TABLE dead_letters_new (
  cluster  INTEGER NOT NULL,
  id       TEXT NOT NULL,
  first_at BIGINT NOT NULL,
  last_at  BIGINT NOT NULL,
  times    BIGINT NOT NULL,
  fault    TEXT NOT NULL,
  error    TEXT NOT NULL,
  recorded BIGINT NOT NULL,
  wanted   BIGINT NOT NULL,
  size     BIGINT NOT NULL,
  signal   TEXT NOT NULL,
  PRIMARY KEY (cluster, id)
);
INSERT OR IGNORE INTO dead_letters_new (cluster, id, first_at, last_at, times, fault, error, recorded, wanted, size, signal)
  SELECT 0, id, first_at, last_at, times, fault, error, recorded, wanted, size, signal
  FROM dead_letters;
DROP TABLE dead_letters;
ALTER TABLE dead_letters_new RENAME TO dead_letters;
CREATE INDEX dead_letters_last ON dead_letters (cluster, last_at, id, size);
CREATE INDEX dead_letters_wanted ON dead_letters (cluster, last_at) WHERE wanted = 1;
