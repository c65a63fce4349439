package store

import (
	"fmt"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/notice"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

// TestNothingOfTheFutureIsLeftWhenAClockWasAhead records with a clock that is three days ahead, sets it right, and goes through all
// columns that hold times: a column that is added later is looked at too.
func TestNothingOfTheFutureIsLeftWhenAClockWasAhead(t *testing.T) {
	const perLog = clampLog + 17
	clock := clocktesting.NewFakePassiveClock(long)
	st, err := Open(t.Context(), Config{Engine: pgtest.Engine(t, ":memory:"), Path: newPath(t), Clock: clock})
	must(t, err)
	defer st.Close()
	write := func(key string, events int, ends bool) {
		t.Helper()
		must(t, st.Lead(t.Context()))
		must(t, st.Ask(t.Context(), &Wish{ID: key, At: clock.Now()}))
		must(t, st.Write(t.Context(), func(tx *Tx) error {
			inc, c := recordFor(tx, key, clock.Now(), events)
			inc.ObservedNow(clock.Now())
			inc.Unheard(clock.Now())
			inc.QuietAt, inc.ReopenedAt = clock.Now(), clock.Now()
			if ends {
				inc.Resolve(incident.Quiet, inc.LastSeen)
			}
			called := due(inc, delivery.Succeeded)
			called.CalledAt, called.OutcomeAt = called.EndedAt, called.EndedAt
			called.RecoveredAt, called.HeardAt, called.VerifyUntil = called.EndedAt, called.EndedAt, called.EndedAt.Add(time.Hour)
			waits := due(inc, delivery.Pending)
			waits.ID, waits.NextAt = "waits "+key, clock.Now().Add(72*time.Hour)
			waits.Sent = delivery.SentTo(delivery.Peer{Dialect: "1.0"}, clock.Now())
			waits.CancelAt, waits.StalledSince, waits.StopAt = clock.Now(), clock.Now(), clock.Now()
			c.Entries = []delivery.Entry{{DeliveryID: waits.ID, At: clock.Now(), Kind: delivery.EntryState}}
			c.Deliveries = []*delivery.Delivery{called, waits}
			c.Groups = []*delivery.GroupState{{GroupKey: delivery.GroupKey{Hook: shopHook, Config: "c", Group: key}, Hold: delivery.OverBudget,
				HoldEnds: clock.Now().Add(time.Hour), ResumedAt: clock.Now(), Held: delivery.HeldBack{Since: clock.Now(), Until: clock.Now()}}}
			_, err := tx.PutDeadLetter(t.Context(), incident.NewDeadLetter(incident.Origin{}, incident.Signal{Key: key, Kind: incident.Observed}, incident.BadSize, errOther, clock.Now()))
			must(t, err)
			must(t, tx.SavePause(t.Context(), &delivery.Pause{PauseScope: delivery.PauseScope{Namespace: key}, At: clock.Now(), Ends: clock.Now().Add(time.Hour)}))
			line := &notice.Line{Notice: notice.Notice{ID: key, At: clock.Now()}, DueAt: clock.Now(), EndedAt: clock.Now()}
			must(t, tx.PutNotices(t.Context(), "oncall", 0, []*notice.Line{line}))
			must(t, tx.SaveConfigurations(t.Context(), shopHook, []delivery.Configuration{{Key: key, EditedAt: clock.Now()}}))
			return tx.Save(t.Context(), c)
		}))
	}
	write("before", 3, false)
	clock.SetTime(long.Add(72 * time.Hour))
	write("ahead", 3, false)
	write("ended ahead", perLog, true)
	now := long.Add(time.Hour)
	for table, columns := range timesOf(t, st) {
		for _, column := range columns {
			if count(t, st, fmt.Sprintf("%s WHERE %s > %d", table, column, micros(now))) == 0 {
				t.Errorf("no row of %s has %s ahead: this test says nothing about it", table, column)
			}
		}
	}
	clock.SetTime(now)
	clamped, err := st.ClampFuture(t.Context(), now)
	if must(t, err); clamped == 0 {
		t.Fatal("nothing was found")
	}
	allowed := map[string]string{ // ahead on purpose
		"delivery_groups.hold_ends": "a day", "deliveries.next_at": "a day", "deliveries.verify_until": "a day", "pauses.ends_at": "a day",
		"decisions.at": "a record, by which nothing is decided or listed",
	}
	looked := 0
	for table, columns := range timesOf(t, st) {
		for _, column := range columns {
			looked++
			most := now
			if allowed[table+"."+column] == "a day" {
				most = now.Add(24 * time.Hour)
			} else if allowed[table+"."+column] != "" {
				continue
			}
			if n := count(t, st, fmt.Sprintf("%s WHERE %s > %d", table, column, micros(most))); n != 0 {
				t.Errorf("%d rows of %s have %s after now", n, table, column)
			}
		}
	}
	if looked < 20 {
		t.Fatalf("only %d columns hold times", looked)
	}
	if again, err := st.ClampFuture(t.Context(), now); err != nil || again != 0 {
		t.Errorf("a second time %d rows were changed, %v", again, err)
	}
	if n := count(t, st, fmt.Sprintf("events WHERE at = %d", micros(long))); n != 1 {
		t.Error("an event of before has another time")
	}
	clock.SetTime(long.Add(4 * time.Hour))
	if _, err := st.Prune(t.Context(), long.Add(2*time.Hour)); err != nil || count(t, st, "changes") != 0 {
		t.Errorf("%d rows of the change log are left, %v", count(t, st, "changes"), err)
	}
}

// timesOf are the columns of each table that hold times.
func timesOf(t *testing.T, st *Store) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	columns := "(SELECT m.name AS tbl, c.name AS name FROM sqlite_master m JOIN pragma_table_info(m.name) c " +
		"WHERE m.type = 'table' AND m.name NOT LIKE 'goose%' AND c.type = 'BIGINT') AS c"
	if pgtest.OnPostgres() {
		columns = "(SELECT table_name AS tbl, column_name AS name FROM information_schema.columns " +
			"WHERE table_schema = current_schema() AND data_type = 'bigint' AND table_name NOT IN ('commits', 'khook_schema_lock')) AS c"
	}
	rows, err := st.core.db.QueryContext(t.Context(), "SELECT tbl, name FROM "+columns+" WHERE "+
		"(c.name = 'at' OR substr(c.name, length(c.name) - 2) = '_at' OR c.name LIKE '%seen' OR c.name LIKE '%since' OR c.name LIKE '%until' OR c.name LIKE '%ends')")
	must(t, err)
	pairs, err := collect(rows, func(row scanner) (p [2]string, err error) { err = row.Scan(&p[0], &p[1]); return p, err })
	must(t, err)
	for _, p := range pairs {
		found[p[0]] = append(found[p[0]], p[1])
	}
	return found
}
