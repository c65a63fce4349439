package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// handle runs reads. khook and people have one each: what people ask never makes khook wait, however many of them ask
// and however long it takes. The types keep it so: a question that only people have is a method of Reader, and takes the
// handle of people; one that only khook has is a method of Store.
type handle interface {
	// query runs a read; done is called once its rows are closed.
	query(ctx context.Context, text string, args []any) (rows *sql.Rows, done func(), err error)
	// explain says what to do about an error of the engine.
	explain(err error) error
}

// coreHandle is khook's own. It keeps its statements, which are constants, or few by construction.
type coreHandle struct {
	db      *sql.DB
	stmts   stmtCache
	store   *Store
	cluster *Cluster
}

func (h *coreHandle) query(ctx context.Context, text string, args []any) (*sql.Rows, func(), error) {
	st, err := h.stmts.stmt(ctx, h.db, h.store.engine.Bind(h.cluster.in(text)))
	if err != nil {
		return nil, nil, err
	}
	rows, err := st.QueryContext(ctx, storable(args)...)
	return rows, func() {}, err
}

func (h *coreHandle) explain(err error) error { return h.store.explain(err) }

// apiHandle is that of people. It keeps no statements, since filters can be combined in many ways.
type apiHandle struct {
	db      *sql.DB
	slots   chan struct{} // holds a token for each connection that is in use
	store   *Store
	cluster *Cluster
}

func (h *apiHandle) query(ctx context.Context, text string, args []any) (*sql.Rows, func(), error) {
	done, err := h.takeSlot(ctx)
	if err != nil {
		return nil, nil, err
	}
	rows, err := h.db.QueryContext(ctx, h.store.engine.Bind(h.cluster.in(text)), storable(args)...)
	if err != nil {
		done()
		return nil, nil, err
	}
	return rows, done, nil
}

func (h *apiHandle) explain(err error) error { return h.store.explain(err) }

// takeSlot waits for a connection, first come first served: database/sql takes any of those who wait,
// and lets some wait for very long.
func (h *apiHandle) takeSlot(ctx context.Context) (done func(), err error) {
	select {
	case h.slots <- struct{}{}:
		return func() { <-h.slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// readAll runs a read and collects its rows. The error says what was read.
func readAll[T any](ctx context.Context, h handle, what string, scan func(scanner) (T, error), text string, args ...any) ([]T, error) {
	rows, done, err := h.query(ctx, text, args)
	if err != nil {
		return nil, h.explain(fmt.Errorf("read %s: %w", what, endedBy(ctx, err)))
	}
	defer done()
	found, err := collect(rows, scan)
	if err != nil {
		return nil, h.explain(fmt.Errorf("read %s: %w", what, endedBy(ctx, err)))
	}
	return found, nil
}

// endedBy is an error that says also that who asked waits no longer, if that is so: a server may say of a statement that its client has ended
// only that it was canceled.
func endedBy(ctx context.Context, err error) error {
	if ended := ctx.Err(); err != nil && ended != nil && !errors.Is(err, ended) {
		return fmt.Errorf("%w: %w", ended, err)
	}
	return err
}

// readOne is readAll for at most one row; ErrNotFound if there is none.
func readOne[T any](ctx context.Context, h handle, what string, scan func(scanner) (T, error), text string, args ...any) (T, error) {
	var none T
	found, err := readAll(ctx, h, what, scan, text, args...)
	if err != nil {
		return none, err
	}
	if len(found) == 0 {
		return none, fmt.Errorf("read %s: %w", what, ErrNotFound)
	}
	return found[0], nil
}

// readByIDs is readAll for a query with a set of IDs, cut into batches; the set may be in it more
// than once.
func readByIDs[T any](ctx context.Context, h handle, what string, scan func(scanner) (T, error), ids []string, query func(in string) string) ([]T, error) {
	var all []T
	err := inBatches(len(ids), func(from, to int) error {
		text := query("(" + placeholders(to-from) + ")")
		var args []any
		for range strings.Count(text, "?") / (to - from) {
			args = append(args, anys(ids[from:to])...)
		}
		part, err := readAll(ctx, h, what, scan, text, args...)
		all = append(all, part...)
		return err
	})
	return all, err
}
