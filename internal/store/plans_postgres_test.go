package store

import (
	"strings"
	"testing"

	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

// TestPostgreSQLReadsListsByIndexes: with what ANALYZE knows of many rows, the planner takes an index for each list, without hints.
func TestPostgreSQLReadsListsByIndexes(t *testing.T) {
	st, err := Open(t.Context(), Config{Engine: pgtest.At(pgtest.Shared(t).Schema(t))})
	must(t, err)
	defer st.Close()
	events := crowd(t, st, "k", 20_000)
	_, err = st.conn.ExecContext(t.Context(), "ANALYZE")
	must(t, err)
	_, err = st.conn.ExecContext(t.Context(), "VACUUM") // what an index has all of is read in it alone
	must(t, err)
	var lists []*listing
	for _, q := range queriesAbout(events[0]) {
		lists = append(lists, q.listing(st.engine))
	}
	for _, q := range []IncidentQuery{
		{}, {Namespace: "shop", Type: "oom-kill"}, {Status: incident.Firing, Type: "oom-kill"}, {Type: "oom-kill", Status: incident.Resolved}, {Name: "x", Namespace: "shop"}, {Workload: "x"}, {IDPrefix: "6aa12b"},
	} {
		lists = append(lists, q.listing(st.engine))
	}
	for _, l := range lists {
		text, args := l.page(Paging{Limit: 50})
		rows, err := st.core.db.QueryContext(t.Context(), "EXPLAIN "+st.engine.Bind(st.cluster.in(text)), args...)
		must(t, err)
		steps, err := collect(rows, scanText)
		must(t, err)
		if plan := strings.Join(steps, "\n"); strings.Contains(plan, "Seq Scan on events") || strings.Contains(plan, "Seq Scan on incidents") {
			t.Errorf("%s %v\n%s", text, args, plan)
		}
	}
}

// TestTheSchemaInPostgreSQLHasWhatTheOneInSQLiteHas: what is added to the one is added to the other.
func TestTheSchemaInPostgreSQLHasWhatTheOneInSQLiteHas(t *testing.T) {
	st, err := Open(t.Context(), Config{Engine: pgtest.At(pgtest.Shared(t).Schema(t))})
	must(t, err)
	defer st.Close()
	file, err := Open(t.Context(), Config{Path: newPath(t)})
	must(t, err)
	defer file.Close()
	all := func(st *Store, query string) map[string]bool {
		rows, err := st.core.db.QueryContext(t.Context(), query)
		must(t, err)
		found, err := collect(rows, scanText)
		must(t, err)
		set := map[string]bool{}
		for _, one := range found {
			set[one] = true
		}
		return set
	}
	there := all(st, "SELECT table_name || '.' || column_name FROM information_schema.columns WHERE table_schema = current_schema() "+
		"AND table_name NOT LIKE 'khook%' AND table_name <> 'commits' UNION ALL SELECT 'index ' || indexname FROM pg_indexes WHERE schemaname = current_schema() AND indexname NOT LIKE '%pkey'")
	here := all(file, "SELECT m.name || '.' || c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table' AND m.name NOT LIKE 'goose%' AND m.name NOT LIKE 'sqlite%' "+
		"UNION ALL SELECT 'index ' || name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
	for one := range here {
		if !there[one] {
			t.Errorf("PostgreSQL has no %s", one)
		}
	}
	for one := range there {
		if !here[one] {
			t.Errorf("SQLite has no %s", one)
		}
	}
}
