-- Why a delivery failed or waits, in khook's own words: error may quote an agent, which lists must not.
-- What was recorded before has none, since nothing tells khook's words and the agent's apart there.

-- +goose Up
ALTER TABLE deliveries ADD COLUMN failure TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE deliveries DROP COLUMN failure;
