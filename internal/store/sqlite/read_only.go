package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
)

// OpenReadOnly opens a history to be read as it is, by one connection. Nothing of the file is changed, not even its schema; beside it, SQLite may
// make the files by which processes find out about each other. A file that another process has open is refused: what it is about to write would be
// missed.
func (e *Engine) OpenReadOnly(ctx context.Context) (*sql.DB, error) {
	if _, err := os.Stat(e.cfg.Path); err != nil {
		return nil, fmt.Errorf("there is no history to read: %w", err)
	}
	process, err := openedBy(e.cfg.Path)
	if err == nil && process != "" {
		err = e.Advise(fmt.Errorf("%s has it open", process), "stop the khook that writes it, so that nothing is missed")
	}
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: e.cfg.Path}).EscapedPath()+"?"+url.Values{
		"mode": {"ro"}, "_pragma": {"query_only(true)", "temp_store(MEMORY)", fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds())},
	}.Encode())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	if err := e.checkFile(ctx, db); err != nil {
		_ = db.Close()
		return nil, e.Explain(err)
	}
	return db, nil
}
