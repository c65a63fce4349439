-- The tokens of the language model that a delivery's task took, as far as its agent told; 0 where it did not. Sums are in hook_counts.

-- +goose Up
ALTER TABLE deliveries ADD COLUMN total_tokens BIGINT NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN prompt_tokens BIGINT NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN completion_tokens BIGINT NOT NULL DEFAULT 0;
CREATE INDEX deliveries_tokens ON deliveries (cluster, hook_ns, hook, created_at, total_tokens) WHERE total_tokens > 0;

-- +goose Down
DROP INDEX deliveries_tokens;
ALTER TABLE deliveries DROP COLUMN completion_tokens;
ALTER TABLE deliveries DROP COLUMN prompt_tokens;
ALTER TABLE deliveries DROP COLUMN total_tokens;
