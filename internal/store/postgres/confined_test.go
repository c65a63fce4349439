package postgres_test

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/kagent-dev/khook/internal/store"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
	"github.com/kagent-dev/khook/internal/store/storetest"
)

// confining is the SQL of docs/operations.md by which a role is held to a cluster.
func confining(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n### A database role for each cluster\n")
	_, block, _ := strings.Cut(section, "\n```sql\n")
	script, _, found := strings.Cut(block, "\n```\n")
	if !found {
		t.Fatal("docs/operations.md has no SQL for it")
	}
	return script
}

var roles atomic.Int64 // which are the server's, and not a database's

// confined makes a role for a cluster by what is documented, and returns the URL of the role. reads says that it may read all.
func confined(t *testing.T, owner, cluster string, reads bool) string {
	t.Helper()
	role := fmt.Sprintf("khook_of_%d", roles.Add(1))
	script := strings.NewReplacer("khook_east", role, "'...'", "'its-own'", "'east'", "'"+cluster+"'").Replace(confining(t))
	if reads {
		call := fmt.Sprintf("confine('%s', '%s'", cluster, role)
		script = strings.Replace(script, call+")", call+", true)", 1)
	}
	db := opened(t, owner+"&default_query_exec_mode=simple_protocol")
	if _, err := db.ExecContext(t.Context(), script); err != nil {
		t.Fatalf("%v in\n%s", err, script)
	}
	u, err := url.Parse(owner)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(role, "its-own")
	t.Cleanup(func() { // a role can't be dropped while it has rights
		_, _ = db.Exec("DROP OWNED BY " + role)
		_, _ = db.Exec("DROP ROLE " + role)
		_ = db.Close()
	})
	return u.String()
}

func opened(t *testing.T, at string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", at)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// migrated is a database whose tables the owner has made, with the history of another cluster.
func migrated(t *testing.T) (owner string) {
	t.Helper()
	owner = pgtest.Shared(t).Database(t)
	st, err := store.Open(t.Context(), store.Config{Engine: pgtest.At(owner), Cluster: "west", ClusterUID: "2"})
	if err != nil {
		t.Fatal(err)
	}
	if err := storetest.Fill(t.Context(), st, 200, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	return owner
}

// TestAHistoryOfARoleThatIsHeldToItsClusterIsAHistory, beside that of another cluster.
func TestAHistoryOfARoleThatIsHeldToItsClusterIsAHistory(t *testing.T) {
	storetest.Conformance(t, func(t *testing.T) storetest.Opener {
		t.Helper()
		own := confined(t, migrated(t), "", false) // the conformance knows of no names
		return func() (*store.Store, error) {
			return store.Open(t.Context(), store.Config{Engine: pgtest.At(own), ClusterUID: "1"})
		}
	})
}

// TestARoleThatIsHeldToItsClusterSeesAndWritesNoOther, whatever the statement, in any table of the history.
func TestARoleThatIsHeldToItsClusterSeesAndWritesNoOther(t *testing.T) {
	owner := migrated(t)
	for _, reads := range []bool{false, true} {
		own := confined(t, owner, fmt.Sprintf("east-%t", reads), reads)
		all, role := opened(t, owner), opened(t, own)
		defer all.Close()
		defer role.Close()
		count := func(db *sql.DB, query string) (n int) {
			if err := db.QueryRowContext(t.Context(), query).Scan(&n); err != nil {
				t.Fatalf("%s: %v", query, err)
			}
			return n
		}
		tables, filled := tablesOf(t, all), 0
		for _, table := range tables {
			other := "cluster = 0"
			if table == "clusters" {
				other = "no = 0"
			}
			there := count(all, "SELECT count(*) FROM "+table+" WHERE "+other)
			if there > 0 {
				filled++
			}
			if seen := count(role, "SELECT count(*) FROM "+table+" WHERE "+other); !reads && seen != 0 || reads && seen != there {
				t.Errorf("reads all: %t: %s shows %d of %d", reads, table, seen, there)
			}
			column := strings.Fields(other)[0]
			for _, statement := range []string{"UPDATE " + table + " SET " + column + " = " + column + " WHERE " + other, "DELETE FROM " + table + " WHERE " + other} {
				done, err := role.ExecContext(t.Context(), statement)
				if refused, ok := errors.AsType[*pgconn.PgError](err); ok && refused.Code == "42501" {
					continue
				}
				if n, _ := done.RowsAffected(); err != nil || n != 0 {
					t.Errorf("%s: %d rows, %v", statement, n, err)
				}
			}
			_, err := role.ExecContext(t.Context(), "INSERT INTO "+table+" ("+column+") VALUES (0)")
			if refused, ok := errors.AsType[*pgconn.PgError](err); !ok || refused.Code != "42501" {
				t.Errorf("a row of another cluster in %s: %v", table, err)
			}
			if count(all, "SELECT count(*) FROM "+table+" WHERE "+other) != there {
				t.Errorf("%s has other rows than before", table)
			}
		}
		if filled < 8 {
			t.Errorf("only %d of the tables %v have rows of another cluster", filled, tables)
		}
		if n, err := role.ExecContext(t.Context(), "DELETE FROM commits"); err != nil || affected(n) != 0 || count(all, "SELECT count(*) FROM commits") == 0 {
			t.Errorf("the marks of others' commits: %v", err)
		}
		if _, err := role.ExecContext(t.Context(), "UPDATE clusters SET no = 0"); err == nil {
			t.Error("a cluster takes another one's number")
		}
	}
}

func affected(r sql.Result) int64 {
	n, _ := r.RowsAffected()
	return n
}

// tablesOf are the tables that have rows of clusters.
func tablesOf(t *testing.T, db *sql.DB) (tables []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "SELECT table_name FROM information_schema.columns WHERE table_schema = current_schema() AND column_name = 'cluster' UNION SELECT 'clusters' ORDER BY 1")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		tables = append(tables, name)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return tables
}

// TestTheClustersOfADatabaseAreListedWithoutMakingOne, also where there are none or several; that brings the schema up to date.
func TestTheClustersOfADatabaseAreListedWithoutMakingOne(t *testing.T) {
	owner := pgtest.Shared(t).Database(t)
	for _, want := range [][]string{{}, {"east"}, {"east", "west"}} {
		if len(want) > 0 {
			st, err := store.Open(t.Context(), store.Config{Engine: pgtest.At(owner), Cluster: want[len(want)-1], ClusterUID: fmt.Sprint(len(want))})
			if err != nil {
				t.Fatal(err)
			}
			_ = st.Close()
		}
		names := []string{}
		clusters, err := store.Clusters(t.Context(), store.Config{Engine: pgtest.At(owner), Visit: true})
		for _, c := range clusters {
			names = append(names, c.Name)
		}
		if err != nil || !slices.Equal(names, want) {
			t.Errorf("%v %v, want %v", names, err, want)
		}
	}
	if tables := tablesOf(t, opened(t, owner)); len(tables) < 10 {
		t.Errorf("the schema has %v", tables)
	}
}
