package postgres_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kagent-dev/khook/internal/store"
	"github.com/kagent-dev/khook/internal/store/postgres"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

func TestADatabaseThatCanNotBeUsedSaysWhatToDo(t *testing.T) {
	server := pgtest.Shared(t)
	url := server.Database(t)
	name := url[strings.LastIndexByte(url, '/')+1 : strings.LastIndexByte(url, '?')]
	server.Exec(t, "postgres", "DROP ROLE IF EXISTS reader")
	server.Exec(t, "postgres", "CREATE ROLE reader LOGIN PASSWORD 'of-the-tests'")
	latin := "latin_" + name
	server.Exec(t, "postgres", "CREATE DATABASE "+latin+" TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
	foreign := server.Schema(t)
	server.Exec(t, "postgres", "CREATE TABLE "+foreign[strings.LastIndexByte(foreign, '=')+1:]+".events (id INT)")
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = nobody.Close()
	for what, c := range map[string]struct{ url, says string }{
		"a wrong password":         {strings.Replace(url, "of-the-tests", "s3cret-and-wrong", 1), "the password is wrong"},
		"an unknown user":          {strings.Replace(url, "//khook:", "//somebody:", 1), "the password is wrong"}, // the server does not say which
		"a database that is not":   {strings.Replace(url, "/"+name, "/"+"nowhere", 1), "there is no such database"},
		"a schema that is not":     {url + "&search_path=nowhere", "make the schema"},
		"a missing right":          {strings.Replace(url, "//khook:", "//reader:", 1), "lacks a right"},
		"no server":                {server.Through(url, nobody.Addr().String()), "can't be reached"},
		"no TLS there":             {strings.Replace(url, "sslmode=disable", "sslmode=require", 1), "it has no TLS"},
		"another encoding":         {server.URL(latin), "UTF8"},
		"tables of another":        {foreign, "a database of its own"},
		"a URL that is none":       {"postgres://khook:s3cret-and-wrong@[/x", "write another URL"},
		"an option that is none":   {url + "&sslmode=s3cret-and-wrong", "write another URL"},
		"a setting there is not":   {url + "&no_such_setting=1", "no_such_setting"},
		"a file instead of a URL":  {"khook.db", "write another URL"},
		"a port that is no number": {"postgres://khook:s3cret-and-wrong@127.0.0.1:x/khook", "write another URL"},
	} {
		st, err := store.Open(t.Context(), store.Config{Engine: pgtest.At(c.url)})
		if err == nil {
			_ = st.Close()
		}
		said := fmt.Sprint(err)
		if !strings.Contains(said, c.says) {
			t.Errorf("%s: %s", what, said)
		}
		if strings.Contains(said, "of-the-tests") || strings.Contains(said, "s3cret-and-wrong") && what != "an option that is none" {
			t.Errorf("%s: the password is in %s", what, said)
		}
	}
}

func TestASchemaOfANewerKhookIsRefused(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	st := open(t, url)
	_ = st.Close()
	name := url[strings.LastIndexByte(url, '/')+1 : strings.LastIndexByte(url, '?')]
	pgtest.Shared(t).Exec(t, name, "INSERT INTO khook_schema_version (version_id, is_applied) VALUES (99999, true)")
	if _, err := store.Open(t.Context(), store.Config{Engine: pgtest.At(url)}); !strings.Contains(fmt.Sprint(err), "newer khook") {
		t.Errorf("%v", err)
	}
}

func TestManyProcessesMakeTheSchemaAtOnce(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	ended := make(chan error)
	const processes = 5
	for range processes {
		go func() {
			st, err := store.Open(context.Background(), store.Config{Engine: pgtest.At(url)})
			if err == nil {
				err = st.Close()
			}
			ended <- err
		}()
	}
	for range processes {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// TestAPasswordIsChangedWhileKhookRuns: the file with the URL is read again at each new connection.
func TestAPasswordIsChangedWhileKhookRuns(t *testing.T) {
	server := pgtest.Shared(t)
	url := server.Database(t)
	name := url[strings.LastIndexByte(url, '/')+1 : strings.LastIndexByte(url, '?')]
	server.Exec(t, "postgres", "DROP ROLE IF EXISTS turning")
	server.Exec(t, "postgres", "CREATE ROLE turning LOGIN PASSWORD 'old'")
	server.Exec(t, "postgres", "ALTER DATABASE "+name+" OWNER TO turning")
	server.Exec(t, name, "ALTER SCHEMA public OWNER TO turning")
	file := filepath.Join(t.TempDir(), "url")
	write := func(password string) {
		if err := os.WriteFile(file, []byte(strings.Replace(url, "//khook:of-the-tests@", "//turning:"+password+"@", 1)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("old")
	database, err := postgres.Named("khook.db", file, 0)
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(t.Context(), store.Config{Engine: database})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if err := record(t.Context(), st, "before"); err != nil {
		t.Fatal(err)
	}
	server.Exec(t, "postgres", "ALTER ROLE turning PASSWORD 'new'")
	end := "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'turning'"
	server.Exec(t, "postgres", end)
	refused := record(t.Context(), st, "meanwhile")
	if !strings.Contains(unavailable(t, refused), "password") {
		t.Errorf("%v", refused)
	}
	write("new")
	if err := record(t.Context(), st, "after"); err != nil {
		t.Error(err)
	}
	if known := recorded(t, st, "before", "meanwhile", "after"); !known["before"] || known["meanwhile"] || !known["after"] {
		t.Errorf("recorded: %v", known)
	}
}

func TestQuestionMarksBecomeNumbersButNotInQuotes(t *testing.T) {
	for query, want := range map[string]string{
		"SELECT 1":        "SELECT 1",
		"a = ? AND b = ?": "a = $1 AND b = $2",
		"a = 'what?' AND \"b?\" = ? AND c = 'it''s?'": "a = 'what?' AND \"b?\" = $1 AND c = 'it''s?'",
	} {
		e := pgtest.At("")
		for range 2 {
			if got := e.Bind(query); got != want {
				t.Errorf("%s is %s", query, got)
			}
		}
	}
}
