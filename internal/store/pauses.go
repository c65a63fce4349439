package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
)

const pauseColumns = "namespace, hook, reason, paused_by, paused_at, ends_at, cancel"

// ErrTooManyPauses is returned where delivery.MaxPauses of other scopes are kept.
var ErrTooManyPauses = errors.New("too many pauses")

// SavePause keeps a pause; one of the same scope is replaced. The error is ErrTooManyPauses if there is no room for another scope.
func (tx *Tx) SavePause(ctx context.Context, p *delivery.Pause) error {
	others, err := rowsOf(ctx, tx, func(row scanner) (n int, err error) { err = row.Scan(&n); return },
		"SELECT count(*) FROM pauses WHERE cluster = :cluster AND hook <> '' AND NOT (namespace = ? AND hook = ?)", p.Namespace, p.Hook)
	if err != nil {
		return err
	}
	if p.Hook != "" && len(others) > 0 && others[0] >= delivery.MaxPauses { // who may pause one Hook must not keep others from pausing all
		return ErrTooManyPauses
	}
	row := []any{p.Namespace, p.Hook, p.Reason, p.By, micros(p.At), micros(p.Ends), boolInt(p.Cancel)}
	return tx.insert(ctx, "pauses", pauseColumns, [][]any{row}, " ON CONFLICT (cluster, namespace, hook) DO UPDATE SET "+
		updates(pauseColumns, "namespace", "hook"))
}

// EndPause deletes the pause of a scope; ended says whether there was one.
func (tx *Tx) EndPause(ctx context.Context, scope delivery.PauseScope) (ended bool, err error) {
	n, err := tx.exec(ctx, "DELETE FROM pauses WHERE cluster = :cluster AND namespace = ? AND hook = ?", scope.Namespace, scope.Hook)
	return n > 0, err
}

// EndPausesBy deletes the pauses that have ended by themselves at a time.
func (tx *Tx) EndPausesBy(ctx context.Context, now time.Time) error {
	_, err := tx.exec(ctx, "DELETE FROM pauses WHERE cluster = :cluster AND ends_at > 0 AND ends_at <= ?", micros(now))
	return err
}

// Pauses returns the pauses of this cluster, the widest first; those that are over may be among them.
func (r reads) Pauses(ctx context.Context) (delivery.Pauses, error) {
	return readAll(ctx, r.handle, "pauses", scanPause, "SELECT "+pauseColumns+" FROM pauses WHERE cluster = :cluster ORDER BY hook <> '', namespace, hook LIMIT ?", 2*delivery.MaxPauses)
}

func scanPause(row scanner) (p delivery.Pause, err error) {
	var at, ends int64
	err = row.Scan(&p.Namespace, &p.Hook, &p.Reason, &p.By, &at, &ends, &p.Cancel)
	if err != nil {
		return p, fmt.Errorf("read a pause: %w", err)
	}
	p.At, p.Ends = fromMicros(at), fromMicros(ends)
	return p, nil
}
