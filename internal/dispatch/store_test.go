package dispatch

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

// denied makes the real store refuse to write deliveries in a state, until allow is called.
func denied(t *testing.T, path string, state delivery.State) (allow func()) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	run := func(statement string) {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	run("PRAGMA busy_timeout = 5000")
	for _, on := range []string{"INSERT", "UPDATE"} {
		run(fmt.Sprintf("CREATE TRIGGER deny_%s BEFORE %s ON deliveries WHEN NEW.state = '%s' BEGIN SELECT RAISE(ABORT, 'denied'); END", on, on, state))
	}
	return func() {
		run("DROP TRIGGER deny_INSERT")
		run("DROP TRIGGER deny_UPDATE")
	}
}

func TestAStoreThatFailsForAWhileLosesNoStep(t *testing.T) {
	pgtest.OnlySQLite(t) // which is told by triggers what to refuse
	task, direct := kagenttest.Act{Work: 10 * time.Millisecond, Answer: "done"}, kagenttest.Act{Direct: "done"}
	for _, dialect := range agent.Dialects() {
		for name, tc := range map[string]struct {
			act    kagenttest.Act
			denied delivery.State
			calls  int // that must have been made before the store is well again
		}{
			"before the call":   {task, delivery.Calling, 0},
			"after the call":    {task, delivery.Working, 1},
			"at the end":        {task, delivery.Succeeded, 1},
			"a direct answer":   {direct, delivery.Succeeded, 1},
			"a task that fails": {kagenttest.Act{End: "TASK_STATE_FAILED"}, delivery.Failed, 1},
		} {
			t.Run(dialect+"/"+name, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "khook.db")
				var failures atomic.Int32
				r := newRigOn(t, path, kagenttest.Options{Dialect: dialect, Script: acts(tc.act)}, func(c *Config) {
					c.Log, c.CallLimit = failing(&failures), time.Minute // a slow machine is no reason to try again
				})
				allow := denied(t, path, tc.denied)
				d := r.due()
				r.eventually("its step has failed thrice", func() bool { return failures.Load() >= 3 }, func() string { return fmt.Sprint(failures.Load()) })
				if n := len(r.kagent.Messages()); n != tc.calls {
					t.Errorf("%d calls while the store fails, want %d", n, tc.calls)
				}
				allow()
				want := delivery.Succeeded
				if tc.denied == delivery.Failed {
					want = delivery.Failed
				}
				if d = r.untilState(d, want); d.Answer != tc.act.Answer+tc.act.Direct || d.Attempt != 1 {
					t.Errorf("answer %q after %d attempts", d.Answer, d.Attempt)
				}
				r.once(d)
				r.nothingLeft()
			})
		}
	}
}
