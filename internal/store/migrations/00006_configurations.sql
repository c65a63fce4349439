-- How the configurations of a Hook are told apart: what the history knows of them, so that an edit of the Hook takes
-- nothing from their history. position is that in the Hook's list; edited_at is 0 if the content is as it was first seen.

-- +goose Up
CREATE TABLE hook_configs (
  cluster   TEXT NOT NULL,
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
CREATE INDEX hook_configs_saved ON hook_configs (saved_at);

-- +goose Down
DROP TABLE hook_configs;
