package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/kagent-dev/khook/internal/incident"
)

// Tx is one write transaction.
type Tx struct {
	store *Store
	first int64 // the change sequence's number at the start
	seq   int64 // the newest number that was given out
}

func (tx *Tx) begin(ctx context.Context) error {
	row, err := tx.row(ctx, "SELECT value FROM meta WHERE name = 'seq'")
	if err != nil {
		return err
	}
	if err := row.Scan(&tx.seq); err != nil {
		return fmt.Errorf("read the change sequence: %w", err)
	}
	tx.first = tx.seq
	return nil
}

func (tx *Tx) finish(ctx context.Context) error {
	if tx.seq == tx.first {
		return nil
	}
	_, err := tx.exec(ctx, "UPDATE meta SET value = ? WHERE name = 'seq'", tx.seq)
	return err
}

// Next returns the next number of the change sequence. An event's ID is the number of its
// insertion.
func (tx *Tx) Next() int64 {
	tx.seq++
	return tx.seq
}

// stmt returns the prepared statement of a query; queries are constants, or few by construction.
func (tx *Tx) stmt(ctx context.Context, query string) (*sql.Stmt, error) {
	if st := tx.store.stmts[query]; st != nil {
		return st, nil
	}
	st, err := tx.store.conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("prepare %.60q: %w", query, err)
	}
	tx.store.stmts[query] = st
	return st, nil
}

func (tx *Tx) exec(ctx context.Context, query string, args ...any) (sql.Result, error) {
	st, err := tx.stmt(ctx, query)
	if err != nil {
		return nil, err
	}
	return st.ExecContext(ctx, args...)
}

func (tx *Tx) row(ctx context.Context, query string, args ...any) (*sql.Row, error) {
	st, err := tx.stmt(ctx, query)
	if err != nil {
		return nil, err
	}
	return st.QueryRowContext(ctx, args...), nil
}

func (tx *Tx) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	st, err := tx.stmt(ctx, query)
	if err != nil {
		return nil, err
	}
	return st.QueryContext(ctx, args...)
}

// batches are the numbers of rows that one statement takes: few, so that the prepared statements
// stay few.
var batches = []int{100, 20, 1}

// inBatches cuts n things into batches, largest first, and runs do on each.
func inBatches(n int, do func(from, to int) error) error {
	at := 0
	for _, size := range batches {
		for ; n-at >= size; at += size {
			if err := do(at, at+size); err != nil {
				return err
			}
		}
	}
	return nil
}

// insert writes rows into a table, many a statement. conflict is what follows the values.
func (tx *Tx) insert(ctx context.Context, table, columns string, rows [][]any, conflict string) error {
	one := "(" + marks(width(columns)) + ")"
	return inBatches(len(rows), func(from, to int) error {
		query := "INSERT INTO " + table + " (" + columns + ") VALUES " +
			strings.TrimSuffix(strings.Repeat(one+",", to-from), ",") + conflict
		args := make([]any, 0, (to-from)*width(columns))
		for _, row := range rows[from:to] {
			args = append(args, row...)
		}
		if _, err := tx.exec(ctx, query, args...); err != nil {
			return fmt.Errorf("write %s: %w", table, err)
		}
		return nil
	})
}

// KnownKeys returns which of the event keys are recorded already.
func (tx *Tx) KnownKeys(ctx context.Context, keys []string) (map[string]bool, error) {
	known := map[string]bool{}
	err := inBatches(len(keys), func(from, to int) error {
		args := make([]any, 0, to-from+1)
		for _, k := range keys[from:to] {
			args = append(args, k)
		}
		query := "SELECT event_key FROM events WHERE event_key IN (" + marks(to-from) + ") AND cluster = ?"
		rows, err := tx.query(ctx, query, append(args, tx.store.cfg.Cluster)...)
		if err != nil {
			return fmt.Errorf("look up event keys: %w", err)
		}
		found, err := collect(rows, func(row scanner) (k string, err error) { err = row.Scan(&k); return })
		for _, k := range found {
			known[k] = true
		}
		return err
	})
	return known, err
}

// GroupDeliveries returns the newest deliveries of a group, newest first.
func (tx *Tx) GroupDeliveries(ctx context.Context, hook incident.HookRef, config, group string, limit int) ([]*incident.Delivery, error) {
	rows, err := tx.query(ctx, "SELECT "+deliveryColumns+" FROM deliveries WHERE hook_ns = ? AND hook = ? AND config = ? AND grp = ? "+
		"ORDER BY created_at DESC LIMIT ?", hook.Namespace, hook.Name, config, group, limit)
	if err != nil {
		return nil, fmt.Errorf("read the deliveries of group %s: %w", group, err)
	}
	return collect(rows, scanDelivery)
}

// CountDeliveries returns how many deliveries of a hook's configuration were made due since.
func (tx *Tx) CountDeliveries(ctx context.Context, hook incident.HookRef, config string, since time.Time) (int, error) {
	row, err := tx.row(ctx, "SELECT count(*) FROM deliveries WHERE hook_ns = ? AND hook = ? AND config = ? AND created_at >= ?",
		hook.Namespace, hook.Name, config, micros(since))
	if err != nil {
		return 0, err
	}
	var n int
	return n, row.Scan(&n)
}

// collect reads all rows, and closes them.
func collect[T any](rows *sql.Rows, scan func(scanner) (T, error)) ([]T, error) {
	defer rows.Close()
	var all []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}
