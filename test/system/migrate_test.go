package system

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

// TestAHistoryIsMigratedWhileAnAgentWorksAndNobodyIsCalledAgain: khook is stopped on SQLite and started on PostgreSQL, where the number that its history
// had is another cluster's. It lists the cluster again, in which the failure is still to be seen, and follows the task that it had begun.
func TestAHistoryIsMigratedWhileAnAgentWorksAndNobodyIsCalledAgain(t *testing.T) {
	pgtest.OnlySQLite(t)
	url := pgtest.Shared(t).Schema(t)
	other, err := store.Open(t.Context(), store.Config{Engine: pgtest.At(url), Cluster: "other", ClusterUID: "another"})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	finished := make(chan struct{})
	kagent := kagenttest.New(t, kagenttest.Options{Script: func(kagenttest.Message) kagenttest.Act {
		return kagenttest.Act{Until: finished, Answer: "cart has more memory now"}
	}})
	ns, dir := namespace(t), t.TempDir()
	applyHook(t, ns, "shop", incident.OOMKill)
	args := append(settings(kagent, dir), "--namespaces", ns)
	file := filepath.Join(dir, "khook.db")
	khook := controller(t, args...)
	crashLoops(t, newPod(t, ns, "cart", "cart-1"), 1, "OOMKilled")
	if _, err := kagent.Await(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	var task string
	eventually(t, "the task is known", func() error {
		for _, d := range readDeliveries(t, file) {
			task = d.TaskID
		}
		if task == "" {
			return fmt.Errorf("it is not")
		}
		return nil
	})
	if code, _, errs := runCLI(t, "migrate", "--from", file, "--to", url); code != 1 || !strings.Contains(errs, "stop the khook that writes it") {
		t.Errorf("while khook works: %d %s", code, errs)
	}
	if code := khook.stop(); code != 0 {
		t.Fatalf("khook ended with %d", code)
	}
	code, out, errs := runCLI(t, "migrate", "--from", file, "--to", url)
	if code != 0 || !strings.Contains(out, `The history of cluster "" is in the database now, where its number is 1`) || strings.Contains(out+errs, "of-the-tests") {
		t.Fatalf("%d %s%s", code, out, errs)
	}
	args[slices.Index(args, "--database")+1] = url
	controller(t, args...).ready()
	crashLoops(t, newPod(t, ns, "pay", "pay-1"), 1, "OOMKilled") // what was listed again was decided before
	if _, err := kagent.Await(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	close(finished)
	st, err := store.Open(t.Context(), store.Config{Engine: pgtest.At(url), Visit: true})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	eventually(t, "the agents have finished", func() error {
		all, err := st.AllDeliveries(t.Context(), 100)
		if err != nil || len(all) != 2 {
			return fmt.Errorf("%d deliveries, %w", len(all), err)
		}
		same := false
		for _, d := range all {
			same = same || d.TaskID == task
			if d.State != delivery.Succeeded || d.Answer != "cart has more memory now" {
				return fmt.Errorf("%s is %s", d.ID, d.State)
			}
		}
		if !same {
			t.Fatalf("none of them follows the task %s", task)
		}
		return nil
	})
	if n := len(kagent.Messages()); n != 2 {
		t.Errorf("%d messages for two workloads", n)
	}
}
