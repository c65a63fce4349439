package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/pressly/goose/v3"

	"github.com/kagent-dev/khook/internal/store/engine"
	"github.com/kagent-dev/khook/internal/store/sqlite"
)

// clusterRow is a cluster with where its history is.
type clusterRow struct {
	Cluster
	seq, term, checked int64
}

const selectClusterRows = "SELECT no, name, uid, salt, seq, term, checked FROM clusters ORDER BY no"

func scanClusterRow(row scanner) (c clusterRow, err error) {
	err = row.Scan(&c.No, &c.Name, &c.UID, &c.Salt, &c.seq, &c.term, &c.checked)
	return c, err
}

// copyEnd is a database that a copy reads.
type copyEnd interface {
	query(ctx context.Context, text string, args ...any) (*sql.Rows, error)
}

// copySource is a file as it was when it was opened: all is read in one transaction.
type copySource struct {
	engine  *sqlite.Engine
	db      *sql.DB
	conn    *sql.Conn
	version int64 // of what is in the file; another process that writes changes it
	have    []clusterRow
}

func openCopySource(ctx context.Context, e *sqlite.Engine) (*copySource, error) {
	s := &copySource{engine: e}
	if err := s.open(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *copySource) open(ctx context.Context) (err error) {
	if s.db, err = s.engine.OpenReadOnly(ctx); err != nil {
		return err
	}
	if s.conn, err = s.db.Conn(ctx); err != nil {
		return err
	}
	if err := s.checkSchema(ctx); err != nil {
		return err
	}
	if s.version, err = s.dataVersion(ctx); err != nil {
		return err
	}
	if _, err := s.conn.ExecContext(ctx, "BEGIN"); err != nil {
		return err
	}
	rows, err := s.query(ctx, selectClusterRows)
	if err != nil {
		return err
	}
	s.have, err = collect(rows, scanClusterRow)
	return err
}

func (s *copySource) checkSchema(ctx context.Context) error {
	schema, err := migrator(s.engine, s.db)
	if err != nil {
		return err
	}
	sources := schema.ListSources()
	newest := sources[len(sources)-1].Version
	var is int64
	err = s.conn.QueryRowContext(ctx, "SELECT coalesce(max(version_id), 0) FROM "+goose.DefaultTablename+" WHERE is_applied = 1").Scan(&is)
	if err == nil && is != newest {
		err = unlikeSchema(s.engine, is, newest)
	}
	return err
}

// unlikeSchema is why a history is neither copied nor copied to that is not of this version.
func unlikeSchema(e engine.Engine, is, newest int64) error {
	if is > newest {
		return e.Advise(fmt.Errorf("%w: its schema is %d, this khook knows %d", errNewer, is, newest), "use that version")
	}
	return e.Advise(fmt.Errorf("its schema is %d, and that of this khook is %d", is, newest), "start this version of khook with it once, which brings it up to date")
}

// dataVersion is a number that is another one once another connection has written.
func (s *copySource) dataVersion(ctx context.Context) (version int64, err error) {
	err = s.conn.QueryRowContext(ctx, "PRAGMA data_version").Scan(&version)
	return version, err
}

// unchanged says with errWritten that the file is not any more what was copied.
func (s *copySource) unchanged(ctx context.Context) error {
	if _, err := s.conn.ExecContext(ctx, "COMMIT"); err != nil {
		return err
	}
	version, err := s.dataVersion(ctx)
	if err != nil {
		return err
	}
	rows, err := s.query(ctx, selectClusterRows)
	if err != nil {
		return err
	}
	now, err := collect(rows, scanClusterRow)
	if err != nil {
		return err
	}
	for i, c := range s.have {
		if len(now) != len(s.have) || now[i] != c {
			return s.engine.Advise(fmt.Errorf("%w: the change sequence of cluster %q was at %d and its term was %d", errWritten, c.Name, c.seq, c.term), stopFirst)
		}
	}
	if version != s.version {
		return s.engine.Advise(errWritten, stopFirst)
	}
	_, err = s.conn.ExecContext(ctx, "BEGIN")
	return err
}

const stopFirst = "stop the khook that writes it, and run khook migrate again"

// wanted are the clusters that are to be copied.
func (s *copySource) wanted(name *string) ([]clusterRow, error) {
	if len(s.have) == 0 {
		return nil, s.engine.Advise(errNoCluster, "no khook has begun a history in it")
	}
	if name == nil {
		return s.have, nil
	}
	clusters := make([]*Cluster, len(s.have))
	for i := range s.have {
		clusters[i] = &s.have[i].Cluster
	}
	for i, c := range s.have {
		if c.Name == *name {
			return s.have[i : i+1], nil
		}
	}
	_, err := visited(clusters, *name)
	return nil, err
}

func (s *copySource) query(ctx context.Context, text string, args ...any) (*sql.Rows, error) {
	return s.conn.QueryContext(ctx, text, args...)
}

func (s *copySource) count(ctx context.Context, table string, cluster int64) (n int64, err error) {
	err = s.conn.QueryRowContext(ctx, "SELECT count(*) FROM "+table+" WHERE cluster = ?", cluster).Scan(&n)
	return n, err
}

func (s *copySource) close() {
	if s.conn != nil {
		_ = s.conn.Close()
	}
	if s.db != nil {
		_ = s.db.Close()
	}
}

// progressTable has how far each table of each history is that is being copied, and no row that a khook needs: it is made by the first copy, and
// dropped when nothing is left to be copied.
const progressTable = "khook_migration"

// copyTarget is the database that is copied to.
type copyTarget struct {
	engine engine.Engine
	db     *sql.DB
	conn   *sql.Conn
}

func openCopyTarget(ctx context.Context, e engine.Engine) (*copyTarget, error) {
	t := &copyTarget{engine: e}
	if err := t.open(ctx); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *copyTarget) open(ctx context.Context) (err error) {
	if t.db, err = t.engine.OpenWriter(ctx); err != nil {
		return err
	}
	schema, err := migrator(t.engine, t.db)
	if err != nil {
		return err
	}
	have, newest, err := schema.GetVersions(ctx)
	switch {
	case err != nil:
		return err
	case have == 0:
		_, err = schema.Up(ctx)
	case have != newest:
		err = unlikeSchema(t.engine, have, newest)
	}
	if err != nil {
		return err
	}
	if t.conn, err = t.db.Conn(ctx); err != nil {
		return err
	}
	_, err = t.exec(ctx, "CREATE TABLE IF NOT EXISTS "+progressTable+" (cluster INTEGER NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL, PRIMARY KEY (cluster, name))")
	return err
}

func (t *copyTarget) query(ctx context.Context, text string, args ...any) (*sql.Rows, error) {
	return t.conn.QueryContext(ctx, t.engine.Bind(text), args...)
}

func (t *copyTarget) exec(ctx context.Context, text string, args ...any) (int64, error) {
	result, err := t.conn.ExecContext(ctx, t.engine.Bind(text), args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// in runs do in a transaction. Whether it was committed when its answer is lost is found out by the next run.
func (t *copyTarget) in(ctx context.Context, sync durability, do func() error) error {
	if _, err := t.exec(ctx, t.engine.Begin(sync == durable)); err != nil {
		return err
	}
	err := do()
	end := "COMMIT"
	if err != nil {
		end = "ROLLBACK"
	}
	_, ended := t.exec(context.WithoutCancel(ctx), end)
	if err == nil {
		err = ended
	}
	return err
}

func (t *copyTarget) clusters(ctx context.Context) ([]clusterRow, error) {
	rows, err := t.query(ctx, selectClusterRows)
	if err != nil {
		return nil, err
	}
	return collect(rows, scanClusterRow)
}

// copyMark is what is copied for a cluster, and by which process.
type copyMark struct {
	Seq, Term, Checked int64
	Run                string
	Stale              bool // what was copied is not what the file has
}

// copyReached is how far a table is.
type copyReached struct {
	Rows  int64
	After copyKey
}

// progress reads the mark of a cluster's copy, and keeps others from it until the transaction ends.
func (t *copyTarget) progress(ctx context.Context, cluster int64) (m copyMark, known bool, err error) {
	known, err = t.read(ctx, cluster, "", t.engine.ForUpdate(), &m)
	return m, known, err
}

func (t *copyTarget) reached(ctx context.Context, cluster int64, table string) (r copyReached, err error) {
	_, err = t.read(ctx, cluster, table, "", &r)
	return r, err
}

func (t *copyTarget) read(ctx context.Context, cluster int64, name, lock string, into any) (known bool, err error) {
	var state string
	err = t.conn.QueryRowContext(ctx, t.engine.Bind("SELECT state FROM "+progressTable+" WHERE cluster = ? AND name = ?"+lock), cluster, name).Scan(&state)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err == nil {
		err = json.Unmarshal([]byte(state), into)
	}
	return true, err
}

// note writes how far something is.
func (t *copyTarget) note(ctx context.Context, cluster int64, name string, state any) error {
	text, err := json.Marshal(state)
	if err == nil {
		_, err = t.exec(ctx, "INSERT INTO "+progressTable+" (cluster, name, state) VALUES (?, ?, ?) ON CONFLICT (cluster, name) DO UPDATE SET state = excluded.state", cluster, name, string(text))
	}
	return err
}

// insert writes rows as they are in the database: with the cluster's number there.
func (t *copyTarget) insert(ctx context.Context, shape *tableShape, cluster int64, rows [][]any) error {
	one := "(" + placeholders(len(shape.columns)+1) + ")"
	return inBatches(len(rows), func(from, to int) error {
		args := make([]any, 0, (to-from)*(len(shape.columns)+1))
		for _, row := range rows[from:to] {
			there, err := shape.numbered(row, cluster)
			if err != nil {
				return err
			}
			args = append(append(args, cluster), there...)
		}
		_, err := t.exec(ctx, "INSERT INTO "+shape.name+" (cluster, "+strings.Join(shape.columns, ", ")+") VALUES "+strings.TrimSuffix(strings.Repeat(one+",", to-from), ","), args...)
		return err
	})
}

// forgetProgress drops the table that khook has no use for, if nothing is being copied.
func (t *copyTarget) forgetProgress(ctx context.Context) error {
	var n int64
	err := t.conn.QueryRowContext(ctx, "SELECT count(*) FROM "+progressTable).Scan(&n)
	if err != nil || n > 0 {
		return err
	}
	_, err = t.exec(ctx, "DROP TABLE "+progressTable)
	return err
}

func (t *copyTarget) close() {
	if t.conn != nil {
		_ = t.conn.Close()
	}
	if t.db != nil {
		_ = t.db.Close()
	}
}
