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
	store  *Store
	first  int64 // the change sequence's number at the start
	seq    int64 // the newest number that was given out
	failed error // of the first statement that failed; it may have ended the transaction
}

func (tx *Tx) begin(ctx context.Context) (err error) {
	if tx.seq, err = tx.number(ctx, "SELECT value FROM meta WHERE name = 'seq'"); err != nil {
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
	if tx.failed != nil {
		return nil, tx.failed // some errors end the transaction: what follows would not be part of it
	}
	if st := tx.store.stmts[query]; st != nil {
		return st, nil
	}
	st, err := tx.store.conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, tx.fail(fmt.Errorf("prepare %.60q: %w", query, err))
	}
	tx.store.stmts[query] = st
	return st, nil
}

// fail notes that a statement failed: the transaction can't be committed any more.
func (tx *Tx) fail(err error) error {
	if tx.failed == nil {
		tx.failed = err
	}
	return err
}

// exec runs a statement and returns how many rows it changed.
func (tx *Tx) exec(ctx context.Context, query string, args ...any) (int64, error) {
	st, err := tx.stmt(ctx, query)
	if err != nil {
		return 0, err
	}
	result, err := st.ExecContext(ctx, args...)
	if err != nil {
		return 0, tx.fail(err)
	}
	return result.RowsAffected()
}

// number reads the one number that a query finds.
func (tx *Tx) number(ctx context.Context, query string, args ...any) (int64, error) {
	found, err := rowsOf(ctx, tx, scanNumber, query, args...)
	if err == nil && len(found) != 1 {
		err = tx.fail(fmt.Errorf("%d rows for %.60q", len(found), query))
	}
	if err != nil {
		return 0, err
	}
	return found[0], nil
}

// rowsOf reads all rows that a query finds.
func rowsOf[T any](ctx context.Context, tx *Tx, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
	st, err := tx.stmt(ctx, query)
	if err != nil {
		return nil, err
	}
	rows, err := st.QueryContext(ctx, args...)
	if err != nil {
		return nil, tx.fail(err)
	}
	all, err := collect(rows, scan)
	if err != nil {
		return nil, tx.fail(err)
	}
	return all, nil
}

func scanNumber(row scanner) (n int64, err error) { err = row.Scan(&n); return n, err }

func scanText(row scanner) (text string, err error) { err = row.Scan(&text); return text, err }

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
		query := "SELECT event_key FROM events WHERE event_key IN (" + marks(to-from) + ") AND cluster = ?"
		found, err := rowsOf(ctx, tx, scanText, query, append(anys(keys[from:to]), tx.store.cfg.Cluster)...)
		for _, k := range found {
			known[k] = true
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look up event keys: %w", err)
	}
	return known, nil
}

// GroupDeliveries returns the newest deliveries of a group, newest first.
func (tx *Tx) GroupDeliveries(ctx context.Context, hook incident.HookRef, config, group string, limit int) ([]*incident.Delivery, error) {
	found, err := rowsOf(ctx, tx, scanDelivery, "SELECT "+deliveryColumns+" FROM deliveries WHERE cluster = ? AND hook_ns = ? AND hook = ? "+
		"AND config = ? AND grp = ? ORDER BY created_at DESC LIMIT ?", tx.store.cfg.Cluster, hook.Namespace, hook.Name, config, group, limit)
	if err != nil {
		return nil, fmt.Errorf("read the deliveries of group %s: %w", group, err)
	}
	return found, nil
}

// CountDeliveries returns how many deliveries of a hook's configuration were made due since.
func (tx *Tx) CountDeliveries(ctx context.Context, hook incident.HookRef, config string, since time.Time) (int, error) {
	n, err := tx.number(ctx, "SELECT count(*) FROM deliveries WHERE cluster = ? AND hook_ns = ? AND hook = ? AND config = ? AND created_at >= ?",
		tx.store.cfg.Cluster, hook.Namespace, hook.Name, config, micros(since))
	if err != nil {
		return 0, fmt.Errorf("count the deliveries of hook %s: %w", hook, err)
	}
	return int(n), nil
}

// anys are the arguments that values become.
func anys[T any](values []T) []any {
	args := make([]any, 0, len(values)+1)
	for _, v := range values {
		args = append(args, v)
	}
	return args
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
