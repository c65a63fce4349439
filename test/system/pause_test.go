package system

import (
	"database/sql"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/status"
)

// called are the workloads that agents were called for, by their messages.
func (s *staffed) called(workload string) (n int) {
	for _, m := range s.kagent.Messages() {
		if strings.Contains(m.Text, workload+"-1") {
			n++
		}
	}
	return n
}

// decidesAs waits until the Hook has decided about a workload's Pod.
func (s *staffed) decidesAs(workload string, want delivery.Disposition) {
	s.Helper()
	eventually(s, "the Hook decides about "+workload, func() error {
		page := read[api.Page[api.Event]](s.responder, "/hooks/"+s.ns+"/shop/events?resourceName="+workload+"-1")
		if len(page.Items) == 0 || !slices.ContainsFunc(page.Items[0].Dispositions, func(d api.Decision) bool { return d.Disposition == want }) {
			return fmt.Errorf("%+v", page.Items)
		}
		return nil
	})
}

// TestWhatPeoplePauseStaysPausedUntilTheyResumeIt pauses, kills khook, and resumes, over the command line.
func TestWhatPeoplePauseStaysPausedUntilTheyResumeIt(t *testing.T) {
	s := newStaffed(t)
	h := applyHook(t, namespace(t), "elsewhere", incident.OOMKill)
	hook := &v1alpha2.Hook{}
	hook.Namespace, hook.Name = s.ns, "shop"
	ben := s.account("ben", grant("hooks", []string{"list"}), grant("hooks/pause", []string{"update"}))
	as := func(token string, code int, args ...string) string {
		t.Helper()
		was := s.responder.token
		s.responder.token = token
		defer func() { s.responder.token = was }()
		return s.cli(code, args...)
	}
	works := s.fail("work", delivery.Working)

	if out := as(s.responder.token, 1, "pause", "-n", s.ns, "--reason", "x"); !strings.Contains(out, "update on hooks/pause") {
		t.Errorf("who may act on deliveries may pause, or is not told what to ask for: %s", out)
	}
	if out := as(ben, 1, "pause", "--all", "--reason", "x"); !strings.Contains(out, "ClusterRole") {
		t.Errorf("who may pause a namespace is told of all: %s", out)
	}
	wantParts(t, as(ben, 0, "pause", "-n", s.ns, "--reason", "it does harm", "--cancel"),
		"calls of the Hooks of namespace "+s.ns+" are paused until somebody resumes them", ":ben: it does harm", "1 delivery is being canceled")
	s.until(works.ID, delivery.Canceled)
	crashLoops(t, newPod(t, s.ns, "first", "first-1"), 1, "OOMKilled")
	s.decidesAs("first", delivery.Paused)
	if message := saysHold(t, hook, v1alpha2.ConditionPaused, v1alpha2.ReasonPausedByPerson); !strings.Contains(message, "it does harm") {
		t.Errorf("the Hook says: %s", message)
	}
	if now := hookNow(t, hook).Status; now.Suspended != v1alpha2.SuspendedByPause {
		t.Errorf("kubectl get says %q", now.Suspended)
	}
	if now := hookNow(t, h).Status; now.Suspended != "" {
		t.Errorf("another namespace's Hook says %q", now.Suspended)
	}
	wantParts(t, s.cli(0, "hooks", "-n", s.ns), "shop", "Paused")
	wantParts(t, s.cli(0, "why", "first-1", "-n", s.ns), "NO", "paused", "it does harm")

	s.khook.kill()
	s.start()
	crashLoops(t, newPod(t, s.ns, "second", "second-1"), 1, "OOMKilled")
	s.decidesAs("second", delivery.Paused)
	if s.called("first")+s.called("second") != 0 {
		t.Fatal("agents are called although calls are paused")
	}
	awaitMetric(t, s.khook, `khook_pauses{scope="namespace"} 1`)
	awaitMetric(t, s.khook, `khook_groups_held_back{why="paused"} 2`)

	wantParts(t, as(ben, 0, "resume", "-n", s.ns), "calls are resumed")
	eventually(t, "both are called for", func() error {
		if s.called("first") == 0 || s.called("second") == 0 {
			return fmt.Errorf("%d and %d calls", s.called("first"), s.called("second"))
		}
		return nil
	})
	if s.called("first") != 1 || s.called("second") != 1 {
		t.Errorf("%d and %d calls", s.called("first"), s.called("second"))
	}
	eventually(t, "Kubernetes Events tell it", func() error {
		if eventsOf(t, s.ns, status.ReasonPaused) == 0 || eventsOf(t, s.ns, status.ReasonResumed) == 0 {
			return fmt.Errorf("not yet")
		}
		return nil
	})
}

// TestAPauseHoldsAlsoWhereTheHistoryCannotBeWritten locks the history, as a backup that hangs would.
func TestAPauseHoldsAlsoWhereTheHistoryCannotBeWritten(t *testing.T) {
	kagent, dir := kagenttest.New(t, kagenttest.Options{}), t.TempDir()
	args := append(settings(kagent, dir), "--api-auth", "none")
	p := controller(t, args...).ready()
	people := caller{t, "http://" + p.api + api.Base, ""}
	db, err := sql.Open("sqlite", filepath.Join(dir, "khook.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the history is locked", func() error { _, err := conn.ExecContext(t.Context(), "BEGIN IMMEDIATE"); return err })
	if r := people.do(http.MethodPost, "/pause", `{"all": true, "reason": "it does harm"}`, "Content-Type: application/json"); r.code != http.StatusServiceUnavailable || !strings.Contains(r.body, "not-durable") {
		t.Errorf("%d %s", r.code, r.body)
	}
	if got := read[api.Pauses](people, "/pauses").Items; len(got) != 1 || !got[0].Volatile {
		t.Errorf("%+v", got)
	}
	if _, err := conn.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pause is recorded once that is possible", func() error {
		if got := read[api.Pauses](people, "/pauses").Items; len(got) != 1 || got[0].Volatile {
			return fmt.Errorf("%+v", got)
		}
		return nil
	})
	p.kill()
	p = controller(t, args...).ready()
	people.base = "http://" + p.api + api.Base
	if got := read[api.Pauses](people, "/pauses").Items; len(got) != 1 || got[0].Reason != "it does harm" {
		t.Errorf("after a restart: %+v", got)
	}
}
