package pgtest

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Pooler starts PgBouncer before a server, in transaction mode, and returns its address. Where there is none, the test is skipped.
func (s *Server) Pooler(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("pgbouncer")
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/pgbouncer")
	}
	skip(t, err)
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	_, at, _ := net.SplitHostPort(s.Address())
	config := filepath.Join(s.dir, "pgbouncer.ini")
	text := fmt.Sprintf("[databases]\n* = host=127.0.0.1 port=%s user=%s password=%s\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\nunix_socket_dir =\n"+
		"auth_type = any\npool_mode = transaction\ndefault_pool_size = 10\nignore_startup_parameters = default_transaction_read_only,statement_timeout\n", at, owner, password, port)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil { //nolint:gosec // the server's user reads it
		t.Fatal(err)
	}
	c := exec.CommandContext(context.Background(), path, "-q", config)
	c.SysProcAttr = &syscall.SysProcAttr{Credential: s.owner}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	address := fmt.Sprintf("127.0.0.1:%d", port)
	db, err := sql.Open("pgx", strings.Replace(s.URL("postgres"), s.Address(), address, 1)+"&default_query_exec_mode=exec")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for until := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if err = db.PingContext(context.Background()); err == nil {
			return address
		}
		if time.Now().After(until) {
			t.Fatal(err)
		}
	}
}
