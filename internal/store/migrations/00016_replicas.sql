-- Several replicas on one history: what people want of the one that leads, and what each term of a leader began with.

-- +goose Up
-- What people asked of a replica that does not lead. The one that leads takes it: state is waiting until it did, or until the asker went away.
CREATE TABLE intake (
  cluster INTEGER NOT NULL,
  id      TEXT   NOT NULL,
  kind    TEXT   NOT NULL,
  payload TEXT   NOT NULL,
  who     TEXT   NOT NULL,
  at      BIGINT NOT NULL,
  state   TEXT   NOT NULL,
  answer  TEXT   NOT NULL,
  PRIMARY KEY (cluster, id)
);
CREATE INDEX intake_waiting ON intake (cluster, at, id) WHERE state = 'waiting';
CREATE INDEX intake_old ON intake (cluster, at);

-- The terms of the leaders. The change sequence had reached a number when a term began, and went on with first: no number between them is a change's.
CREATE TABLE terms (
  cluster INTEGER NOT NULL,
  term    BIGINT NOT NULL,
  reached BIGINT NOT NULL,
  first   BIGINT NOT NULL,
  at      BIGINT NOT NULL,
  leader  TEXT   NOT NULL,
  PRIMARY KEY (cluster, term)
);
CREATE INDEX terms_first ON terms (cluster, first);

-- +goose Down
DROP TABLE terms;
DROP TABLE intake;
