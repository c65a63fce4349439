// Package pgtest gives tests a real PostgreSQL: Debian's, started in a folder of its own on a free port of the loopback address. It can be
// killed and started again, and have a standby that is promoted. Where there is no PostgreSQL, the tests are skipped, and say so once.
package pgtest

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// EnvSwitch turns the tests off that need PostgreSQL, where it is "off"; with "required" they fail where there is none.
const EnvSwitch = "KHOOK_TEST_POSTGRES"

// patience is how long a server may take to start or to stop.
const patience = time.Minute

// Server is a PostgreSQL server.
type Server struct {
	bin, dir string
	port     int
	owner    *syscall.Credential // whom it runs as; nil for the user of the tests
	settings []string

	mu      sync.Mutex
	process *exec.Cmd
	ended   chan struct{}
}

// user and password of the databases' owner, who is a superuser.
const (
	owner    = "khook"
	password = "of-the-tests"
)

var shared struct {
	sync.Mutex
	server *Server
	err    error
	tried  bool
}

var errOff = errors.New(EnvSwitch + " is off")

// Main runs the tests of a package, and stops the server that they share; for TestMain.
func Main(m *testing.M) { os.Exit(Tests(m).Run()) }

// Tests are the tests of a package, after which the server that they share is stopped; for a TestMain that does more.
func Tests(m *testing.M) interface{ Run() int } { return tests{m} }

type tests struct{ *testing.M }

// Run runs the tests.
func (ts tests) Run() int {
	code := ts.M.Run()
	if shared.server != nil {
		shared.server.remove()
	}
	return code
}

// Shared returns the server that the tests of this process share. It must not be killed.
func Shared(t testing.TB) *Server {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if !shared.tried {
		shared.tried = true
		shared.server, shared.err = start()
	}
	skip(t, shared.err)
	return shared.server
}

// New starts a server for one test.
func New(t testing.TB, settings ...string) *Server {
	t.Helper()
	s, err := start(settings...)
	skip(t, err)
	t.Cleanup(s.remove)
	return s
}

// skip skips the test without a server, with a line that is told also where tests that pass tell nothing.
func skip(t testing.TB, err error) {
	t.Helper()
	switch {
	case err == nil:
	case os.Getenv(EnvSwitch) == "required" || !errors.Is(err, exec.ErrNotFound) && !errors.Is(err, errOff):
		t.Fatalf("start PostgreSQL: %v", err)
	default:
		sayOnce.Do(func() {
			fmt.Fprintf(os.Stderr, "NOT TESTED ON POSTGRESQL: %v (apt-get install postgresql)\n", err)
		})
		t.Skip(err)
	}
}

var sayOnce sync.Once

// binaries is the folder of the newest PostgreSQL.
func binaries() (string, error) {
	if os.Getenv(EnvSwitch) == "off" {
		return "", errOff
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil || len(found) == 0 {
		path, err := exec.LookPath("postgres")
		return filepath.Dir(path), err
	}
	slices.SortFunc(found, func(a, b string) int { return version(a) - version(b) })
	return filepath.Dir(found[len(found)-1]), nil
}

func version(path string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
	return n
}

func start(settings ...string) (*Server, error) {
	s, err := newServer(settings)
	if err != nil {
		return nil, err
	}
	secret := filepath.Join(s.dir, "password")
	if err := os.WriteFile(secret, []byte(password), 0o644); err != nil { //nolint:gosec // of a test
		return nil, err
	}
	// The rules of a language are what most databases go by, so the tests do too.
	if err := s.run("initdb", "-D", s.data(), "-U", owner, "--pwfile="+secret, "-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"); err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.dir))
	}
	if err := s.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.dir))
	}
	return s, nil
}

// newServer makes the folder.
func newServer(settings []string) (*Server, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "khook-pg")
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, dir: dir, settings: settings}
	if os.Geteuid() == 0 { // it refuses to run as root
		account, err := user.Lookup("postgres")
		if err != nil {
			return nil, err
		}
		uid, _ := strconv.ParseUint(account.Uid, 10, 32)
		gid, _ := strconv.ParseUint(account.Gid, 10, 32)
		s.owner = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(dir, int(uid), int(gid)); err != nil {
			return nil, err
		}
	}
	s.port, err = freePort()
	return s, err
}

func freePort() (int, error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil //nolint:forcetypeassert // of TCP
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) command(name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(context.Background(), filepath.Join(s.bin, name), args...) //nolint:gosec // PostgreSQL's
	c.Dir = s.dir
	c.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "PGPASSWORD="+password)
	c.SysProcAttr = &syscall.SysProcAttr{Credential: s.owner}
	return c
}

func (s *Server) run(name string, args ...string) error {
	c := s.command(name, args...)
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, said.String())
	}
	return nil
}

// Start starts the server, and waits until it can be asked. What is left of one that was killed may keep it from starting for a moment: then it
// is tried again.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for until := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		err := s.start()
		if err == nil || !strings.Contains(err.Error(), "is still in use") || time.Now().After(until) {
			return err
		}
	}
}

// start is one try. What the log said before does not count.
func (s *Server) start() error {
	_ = os.Truncate(filepath.Join(s.dir, "log"), 0) // there is none at first
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	args := []string{
		"-D", s.data(), "-p", strconv.Itoa(s.port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=" + s.dir,
		"-c", "fsync=off", "-c", "full_page_writes=off", "-c", "shared_buffers=32MB", "-c", "max_connections=500", "-c", "max_wal_size=256MB", "-c", "autovacuum_naptime=5min",
		"-c", "wal_level=replica", "-c", "hot_standby=on",
	}
	for _, setting := range s.settings {
		args = append(args, "-c", setting)
	}
	c := s.command("postgres", args...)
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		return errors.Join(err, log.Close())
	}
	s.process, s.ended = c, make(chan struct{})
	go func(ended chan struct{}) {
		_ = c.Wait()
		_ = log.Close()
		close(ended)
	}(s.ended)
	for until := time.Now().Add(patience); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		select {
		case <-s.ended:
			said, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			return fmt.Errorf("PostgreSQL has ended:\n%s", said)
		default:
		}
		if s.answers() {
			return nil
		}
	}
	return errors.New("PostgreSQL does not answer")
}

func (s *Server) answers() bool {
	db, err := sql.Open("pgx", s.URL("postgres"))
	if err != nil {
		return false
	}
	defer db.Close()
	ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
	defer stop()
	return db.PingContext(ctx) == nil
}

// Kill ends the server as a crash does: its processes are killed and what it had in memory is gone.
func (s *Server) Kill() { s.signal(syscall.SIGKILL) }

// Stop ends the server in order, and those who are connected with it.
func (s *Server) Stop() { s.signal(syscall.SIGINT) }

func (s *Server) signal(signal syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return
	}
	pid := s.process.Process.Pid
	if signal == syscall.SIGKILL { // with those that serve the connections: they would go on for a moment
		_ = syscall.Kill(pid, syscall.SIGSTOP)
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		for child := range strings.FieldsSeq(string(children)) {
			if n, err := strconv.Atoi(child); err == nil {
				_ = syscall.Kill(n, signal)
			}
		}
	}
	_ = syscall.Kill(pid, signal)
	<-s.ended
	s.process = nil
}

func (s *Server) remove() {
	s.Kill()
	_ = os.RemoveAll(s.dir)
}

// Log is what the server has said.
func (s *Server) Log() string {
	said, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return string(said)
}

// Address is where the server listens.
func (s *Server) Address() string { return "127.0.0.1:" + strconv.Itoa(s.port) }

// URL is that of a database, for its owner.
func (s *Server) URL(database string) string {
	return fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable", owner, password, s.Address(), database)
}

// Through is the URL of a database through another address, such as that of a proxy.
func (s *Server) Through(url, address string) string {
	return strings.Replace(url, s.Address(), address, 1)
}

// Or is the URL of a database for a client that takes this server or another one, whichever is the primary.
func (s *Server) Or(other *Server, url string) string {
	return s.Through(url, s.Address()+","+other.Address())
}

var databases atomic.Int64

// Database makes an empty database, and returns its URL.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("khook_%d", databases.Add(1))
	s.Exec(t, "postgres", "CREATE DATABASE "+name+" TEMPLATE template0")
	t.Cleanup(func() {
		db, err := sql.Open("pgx", s.URL("postgres"))
		if err == nil {
			_, _ = db.ExecContext(context.Background(), "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)") // it may be gone with its server
			_ = db.Close()
		}
	})
	return s.URL(name)
}

// Schema makes an empty schema in a database that all share, which takes less time than a database, and returns its URL.
func (s *Server) Schema(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("khook_%d", databases.Add(1))
	s.Exec(t, "postgres", "CREATE SCHEMA "+name)
	return s.URL("postgres") + "&search_path=" + name
}

// Exec runs a statement in a database as its owner.
func (s *Server) Exec(t testing.TB, database, statement string) {
	t.Helper()
	db, err := sql.Open("pgx", s.URL(database))
	if err == nil {
		defer db.Close()
		_, err = db.ExecContext(context.Background(), statement)
	}
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// Standby starts a server that follows this one, as streaming replication does.
func (s *Server) Standby(t testing.TB) *Server {
	t.Helper()
	standby, err := newServer(s.settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(standby.remove)
	if err := standby.run("pg_basebackup", "-h", "127.0.0.1", "-p", strconv.Itoa(s.port), "-U", owner, "-D", standby.data(), "-R", "-X", "stream", "-c", "fast", "--no-sync"); err != nil {
		t.Fatal(err)
	}
	if err := standby.Start(); err != nil {
		t.Fatal(err)
	}
	return standby
}

// CatchUp waits until a standby has all that its primary has committed.
func (s *Server) CatchUp(t testing.TB, primary *Server) {
	t.Helper()
	var position string
	primary.ask(t, &position, "SELECT pg_current_wal_flush_lsn()::text")
	for until := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		var reached bool
		if s.ask(t, &reached, "SELECT pg_last_wal_replay_lsn() >= '"+position+"'"); reached {
			return
		}
		if time.Now().After(until) {
			t.Fatal("the standby does not catch up")
		}
	}
}

// ask reads the one value of a query.
func (s *Server) ask(t testing.TB, into any, query string) {
	t.Helper()
	db, err := sql.Open("pgx", s.URL("postgres"))
	if err == nil {
		defer db.Close()
		err = db.QueryRowContext(t.Context(), query).Scan(into)
	}
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// Promote makes a standby a primary.
func (s *Server) Promote(t testing.TB) {
	t.Helper()
	if err := s.run("pg_ctl", "promote", "-D", s.data(), "-w"); err != nil {
		t.Fatal(err)
	}
}
