-- One name for one thing from Go to SQL to JSON: the columns are named as the API's properties are.

-- +goose Up
ALTER TABLE deliveries RENAME COLUMN wanted_by TO requested_by;
ALTER TABLE deliveries RENAME COLUMN cancel_by TO cancel_requested_by;
ALTER TABLE deliveries RENAME COLUMN even_recovered TO even_if_recovered;
ALTER TABLE deliveries RENAME COLUMN approval TO needs_approval;

-- +goose Down
ALTER TABLE deliveries RENAME COLUMN requested_by TO wanted_by;
ALTER TABLE deliveries RENAME COLUMN cancel_requested_by TO cancel_by;
ALTER TABLE deliveries RENAME COLUMN even_if_recovered TO even_recovered;
ALTER TABLE deliveries RENAME COLUMN needs_approval TO approval;
