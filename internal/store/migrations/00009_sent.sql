-- The message of a delivery that may be with its agent: to whom it was sent, when, and what looks for it found. It is one fact instead of
-- several to be read together. How often the agent was asked to stop.

-- +goose Up
ALTER TABLE deliveries ADD COLUMN sent_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN sent_dialect TEXT NOT NULL DEFAULT '';
ALTER TABLE deliveries ADD COLUMN sent_user TEXT NOT NULL DEFAULT '';
ALTER TABLE deliveries ADD COLUMN sent_url TEXT NOT NULL DEFAULT '';
ALTER TABLE deliveries ADD COLUMN sent_flags BIGINT NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN sent_missed BIGINT NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN sent_looks BIGINT NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN cancel_tries BIGINT NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN cancel_at BIGINT NOT NULL DEFAULT 0;

-- An earlier khook named the session first (flag 1). Its catch_up said of a
-- delivery with attempts that one of them may have arrived, or that its event was found at a start: the former is taken for true.
UPDATE deliveries SET sent_at = CASE WHEN called_at = 0 THEN created_at ELSE called_at END, sent_dialect = dialect, sent_flags = 1, state = 'calling'
  WHERE task_id = '' AND ended_at = 0 AND (state = 'calling' OR state = 'pending' AND catch_up <> 0 AND attempt > 0);

-- +goose Down
ALTER TABLE deliveries DROP COLUMN cancel_at;
ALTER TABLE deliveries DROP COLUMN cancel_tries;
ALTER TABLE deliveries DROP COLUMN sent_looks;
ALTER TABLE deliveries DROP COLUMN sent_missed;
ALTER TABLE deliveries DROP COLUMN sent_flags;
ALTER TABLE deliveries DROP COLUMN sent_url;
ALTER TABLE deliveries DROP COLUMN sent_user;
ALTER TABLE deliveries DROP COLUMN sent_dialect;
ALTER TABLE deliveries DROP COLUMN sent_at;
