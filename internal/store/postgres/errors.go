package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store/engine"
)

const (
	adviceLost   = "the connection broke: what is not written yet is kept and tried again"
	adviceBusy   = "it has too much to do or too few connections: what is not written yet is kept and tried again; see max_connections there and --database-max-connections here"
	adviceStarts = "the database is starting, stopping or failing over: what is not written yet is kept and tried again"
	adviceTLS    = "its certificate can't be verified: see sslmode, sslrootcert and the host's name in the URL"
	advicePooler = "prepared statements or settings are not kept: behind PgBouncer in transaction mode add default_query_exec_mode=exec to the URL, and see docs/operations.md"
	adviceClash  = "another transaction was in the way: what is not written yet is kept and tried again"
	adviceDisk   = "the database's disk is full: make room there; what is not written yet is kept and tried again"
)

// advices say what a person can do about the errors that PostgreSQL has for its state, by SQLSTATE or, with two characters,
// by class (PostgreSQL's documentation, appendix A).
var advices = map[string]string{
	"28P01": "the password is wrong: see the URL (--database, --database-file)",
	"28":    "the database does not let khook in: see the user and the password in the URL, and pg_hba.conf there",
	"3D000": "there is no such database: make it, or name another one in the URL",
	"3F000": "there is no such schema: make it, or name another one in the URL (search_path)",
	"42501": "khook lacks a right: its user must own the tables, or may create them in its schema",
	"25006": "the database can't be written, as a standby can't: name the primary in the URL, or all servers",
	"42P07": "a table of that name is there already: give khook a database of its own, or a schema (search_path in the URL)",
	"42P01": "a table of khook's is missing: restart khook, or put a backup in its place",
	"42703": "a column of khook's is missing: put a backup in its place",
	"53100": adviceDisk,
	"53":    adviceBusy,
	"40":    adviceClash,
	"55P03": adviceClash,
	"25P03": adviceClash,
	"57014": "it took too long: what is not written yet is kept and tried again",
	"57P":   adviceStarts,
	"08P01": advicePooler,
	"26000": advicePooler,
	"42P05": advicePooler,
	"08":    adviceLost,
	"58":    "the database's disk can't be read or written: look at its log",
	"XX":    "the database is damaged: look at its log, and put a backup in its place",
}

// faults are PostgreSQL's errors for what a row says.
var faults = map[string]incident.Fault{
	"23":    incident.BadConstraint,
	"22001": incident.BadSize,
	"54000": incident.BadSize, // of an index
	"22":    incident.BadEncoding,
}

// byCode looks an SQLSTATE up: the code, else its longest beginning that is known.
func byCode[T any](table map[string]T, code string) (found T, ok bool) {
	for n := len(code); n >= 2; n-- {
		if found, ok = table[code[:n]]; ok {
			return found, true
		}
	}
	return found, false
}

// Advise implements engine.Engine.
func (e *Engine) Advise(err error, advice string) error {
	where := "in PostgreSQL"
	if known := e.where.Load(); known != nil {
		where = *known
	}
	return &engine.StateError{Where: where, Advice: advice, Err: err}
}

// Explain implements engine.Engine.
func (e *Engine) Explain(err error) error {
	var state *engine.StateError
	var row *engine.RowError
	if err == nil || errors.As(err, &state) || errors.As(err, &row) {
		return err
	}
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.explainCode(refused, err)
	}
	if advice := adviceAbout(err); advice != "" {
		return e.Advise(err, advice)
	}
	return err
}

func (e *Engine) explainCode(refused *pgconn.PgError, err error) error {
	if refused.Code == "57014" && !strings.Contains(refused.Message, "timeout") {
		return err // who asked has ended it
	}
	if fault, ok := byCode(faults, refused.Code); ok {
		return &engine.RowError{Fault: fault, Err: err}
	}
	if advice, ok := byCode(advices, refused.Code); ok {
		return e.Advise(err, advice)
	}
	return err
}

// adviceAbout is about what the database did not say itself.
func adviceAbout(err error) string {
	var certificate *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var connect *connectError
	var lost *lostError
	var network net.Error
	switch {
	case errors.Is(err, errURL):
		return "write another URL (--database, --database-file)"
	case errors.As(err, &certificate), errors.As(err, &authority), errors.As(err, &host):
		return adviceTLS
	case strings.Contains(err.Error(), "server refused TLS"): // pgconn has no value for it
		return "it has no TLS: turn it on there, or see sslmode in the URL"
	case errors.Is(err, pgconn.ErrStandbyConnection):
		return advices["25006"]
	case errors.As(err, &connect):
		return "it can't be reached: see the host and the port in the URL, and the network; what is not written yet is kept and tried again"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "" // who asked waits no longer
	case errors.As(err, &lost), errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &network), errors.Is(err, net.ErrClosed):
		return adviceLost
	}
	return ""
}

// Duplicate implements engine.Engine.
func (*Engine) Duplicate(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == "23505"
}
