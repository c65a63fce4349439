package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
)

// wholeCheck is the size in bytes of the largest file that is looked through as a whole when it is
// opened, which takes some seconds.
const wholeCheck = 1 << 30

// checks are the pragmas that look for damage in a file of a size in bytes. Of a large one they look through what
// khook goes on from; damage in the rest is found when it is read.
func checks(size int64) []string {
	if size <= wholeCheck {
		return []string{"quick_check(1)"}
	}
	return []string{"quick_check(meta)", "quick_check(deliveries)", "quick_check(incidents)"}
}

// checkFile finds damage before anything is built on it, and refuses a database of another program before
// khook's tables get into it.
func (e *Engine) checkFile(ctx context.Context, db *sql.DB) error {
	if err := db.PingContext(ctx); err != nil {
		return err
	}
	if err := e.quickCheck(ctx, db); err != nil {
		return err
	}
	var tables, ours int
	err := db.QueryRowContext(ctx, "SELECT count(*), coalesce(sum(name = 'goose_db_version'), 0) FROM sqlite_master "+
		"WHERE type = 'table'").Scan(&tables, &ours)
	if err != nil {
		return err
	}
	if tables > 0 && ours == 0 {
		return errForeign
	}
	return nil
}

func (e *Engine) quickCheck(ctx context.Context, db *sql.DB) error {
	var tables int
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_master").Scan(&tables); err != nil || tables == 0 {
		return err
	}
	size, err := e.Size(ctx, db)
	if err != nil {
		return err
	}
	for _, check := range checks(size) {
		var verdict string
		if err := db.QueryRowContext(ctx, "PRAGMA "+check).Scan(&verdict); err != nil {
			return err
		}
		if verdict != "ok" {
			return fmt.Errorf("%w: %s", errDamaged, verdict)
		}
	}
	return nil
}

// Ready implements engine.Engine.
func (e *Engine) Ready() error { return errors.Join(e.damage.found(), e.sameFile()) }

// sameFile says whether the file is still where it was opened: what is written into a file that was moved away or
// deleted is lost at the next start.
func (e *Engine) sameFile() error {
	if e.file == nil {
		return nil
	}
	now, err := os.Stat(e.cfg.Path)
	if err != nil {
		return fmt.Errorf("%w: %w", errMoved, err)
	}
	if !os.SameFile(e.file, now) {
		return errMoved
	}
	return nil
}
