-- +goose Up
-- The signals that could not be recorded because of what they say, put aside so that the others could
-- be: few, and bounded in number and size. A letter that is wanted is tried again by the leader.

CREATE TABLE dead_letters (
  id       TEXT PRIMARY KEY,
  cluster  TEXT NOT NULL,
  first_at BIGINT NOT NULL,
  last_at  BIGINT NOT NULL,
  times    BIGINT NOT NULL,
  fault    TEXT NOT NULL,
  error    TEXT NOT NULL,
  recorded BIGINT NOT NULL,
  wanted   BIGINT NOT NULL,
  size     BIGINT NOT NULL,
  signal   TEXT NOT NULL -- as JSON
);
CREATE INDEX dead_letters_last ON dead_letters (last_at, id, size);
CREATE INDEX dead_letters_wanted ON dead_letters (last_at) WHERE wanted = 1;

-- +goose Down
DROP TABLE dead_letters;
