package system

import (
	"database/sql"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	eventsv1 "k8s.io/api/events/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/incident"
)

// TestWhatCannotBeRecordedStopsNothingIsShownAndIsReplayed lets the history refuse one Pod's events.
func TestWhatCannotBeRecordedStopsNothingIsShownAndIsReplayed(t *testing.T) {
	kagent := kagenttest.New(t, kagenttest.Options{})
	ns, dir := namespace(t), t.TempDir()
	applyHook(t, ns, "shop", incident.OOMKill)
	p := controller(t, append(settings(kagent, dir), "--stabilization=1h", "--api-auth", "none")...).ready()
	file := filepath.Join(dir, "khook.db")
	db, err := sql.Open("sqlite", file+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	exec := func(statement string) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	exec("CREATE TRIGGER poison BEFORE INSERT ON events WHEN NEW.name = 'poison-1' BEGIN SELECT RAISE(ABORT, 'this row is refused'); END")
	crashLoops(t, newPod(t, ns, "poison", "poison-1"), 1, "OOMKilled") // an oom-kill and a pod-restart
	crashLoops(t, newPod(t, ns, "cart", "cart-1"), 1, "OOMKilled")
	messages, err := kagent.Await(t.Context(), 1)
	if err != nil || !strings.Contains(messages[0].Text, "cart") {
		t.Fatalf("%v: the agent is told %v", err, messages)
	}

	c := caller{t, "http://" + p.api + api.Base, ""}
	eventually(t, "the health tells of it", func() error {
		h := read[api.Health](c, "/health")
		if h.Status != api.Degraded || !strings.Contains(strings.Join(h.Reasons, "\n"), "put aside: khook dead-letters shows") {
			return fmt.Errorf("%+v", h.Reasons)
		}
		return nil
	})
	if code, body := get(t, "http://"+p.health+"/readyz?verbose"); code != http.StatusOK {
		t.Errorf("it takes khook out of service: %d %s", code, body)
	}
	awaitMetric(t, p, "khook_dead_letters 2")
	if scrape := p.scrape(); strings.Contains(scrape, `khook_signals_put_aside_total{fault="constraint"} 0`) {
		t.Error("the metric counts nothing")
	}
	if log := p.log.String(); !strings.Contains(log, "was put aside") || !strings.Contains(log, "poison-1") {
		t.Error("the log does not tell")
	}

	code, out, errs := runCLI(t, "dead-letters", "--database", file)
	if code != 0 || !strings.Contains(out, "poison-1") || !strings.Contains(out, "this row is refused") {
		t.Fatalf("%d %s%s", code, out, errs)
	}
	exec("DROP TRIGGER poison")
	if code, out, errs := runCLI(t, "dead-letters", "replay", "--all", "--database", file); code != 0 || !strings.Contains(out, "2 dead letters will be tried again") {
		t.Fatalf("%d %s%s", code, out, errs)
	}
	if messages, err = kagent.Await(t.Context(), 2); err != nil || !strings.Contains(messages[1].Text, "poison") {
		t.Fatalf("%v: the agent is told %v", err, messages)
	}
	eventually(t, "khook is healthy again", func() error {
		if h := read[api.Health](c, "/health"); h.Status != api.Healthy {
			return fmt.Errorf("%+v", h.Reasons)
		}
		return nil
	})
	if code, out, _ := runCLI(t, "dead-letters", "list", "--database", file); code != 0 || !strings.Contains(out, "Nothing was put aside") {
		t.Errorf("%d %s", code, out)
	}
}

func TestDeadLettersAreNamedOrAllOfThem(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "khook.db")
	if code, _, errs := runCLI(t, "dead-letters", "--database", file); code != 1 || !strings.Contains(errs, "or name the file (--database)") {
		t.Errorf("without a history: %d %s", code, errs)
	}
	if err := openHistory(t, file).Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"replay"}, 2, "name the dead letters by their IDs, or give --all"},
		{[]string{"drop", "x", "--all"}, 2, "name the dead letters by their IDs, or give --all"},
		{[]string{"drop", "x", "y"}, 1, "0 of 2 dead letters are there"},
		{[]string{"drop", "--all"}, 0, "0 dead letters dropped"},
		{[]string{"list", "-o", "json"}, 0, `"data": []`},
	} {
		code, out, errs := runCLI(t, append(append([]string{"dead-letters"}, c.args...), "--database", file)...)
		if code != c.code || !strings.Contains(out+errs, c.says) {
			t.Errorf("%v: %d %s%s", c.args, code, out, errs)
		}
	}
}

func TestAHookWhoseExpressionsCostTooMuchSaysSo(t *testing.T) {
	kagent := kagenttest.New(t, kagenttest.Options{})
	ns, dir := namespace(t), t.TempDir()
	ten := "[0,1,2,3,4,5,6,7,8,9]"
	h := applyHook(t, ns, "costly", incident.OOMKill)
	h.Spec.EventConfigurations[0].Match = ten + ".exists(a, " + ten + ".exists(b, " + ten + ".exists(c, " + ten + ".exists(d, " + ten + ".exists(e, a+b+c+d+e > 1000)))))"
	if err := testCluster.client.Update(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	applyHook(t, ns, "decent", incident.OOMKill)
	p := controller(t, append(settings(kagent, dir), "--stabilization=1h")...).ready()
	crashLoops(t, newPod(t, ns, "cart", "cart-1"), 1, "OOMKilled")
	if says := saysHold(t, h, "MatchTooCostly", "OverMatchBudget"); !strings.Contains(says, "oom-kill-2ad01ecd: its match expression costs too much for a single event") {
		t.Errorf("it says %q", says)
	}
	if _, err := kagent.Await(t.Context(), 1); err != nil {
		t.Error(err)
	}
	awaitMetric(t, p, "khook_match_over_budget_total 1")
	awaitMetric(t, p, `khook_dispositions_total{disposition="invalid",event_type="oom-kill"} 1`)
	eventually(t, "a Kubernetes Event tells", func() error {
		var events eventsv1.EventList
		if err := testCluster.client.List(t.Context(), &events, client.InNamespace(ns)); err != nil {
			return err
		}
		for _, e := range events.Items {
			if e.Reason == "EventProcessingError" && strings.Contains(e.Note, "match expression") {
				return nil
			}
		}
		return fmt.Errorf("%d Events, none of them does", len(events.Items))
	})
}
