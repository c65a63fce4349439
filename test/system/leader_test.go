package system

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/incident"
)

// TestAStandbyTakesOverAndCallsNobodyTwice runs two replicas with exactly the generated role.
func TestAStandbyTakesOverAndCallsNobodyTwice(t *testing.T) {
	kagent := kagenttest.New(t, kagenttest.Options{})
	ns, dir := namespace(t), t.TempDir()
	applyHook(t, ns, "shop", incident.PodRestart)
	args := append(settings(kagent, dir), "--leader-elect", "--leader-election-namespace", "kagent")
	replicas := []*process{controller(t, args...), controller(t, args...)}
	leader := func() *process {
		for _, p := range replicas {
			if strings.Contains(p.scrape(), `khook_watch_up{resource="events"} 1`) {
				return p
			}
		}
		return nil
	}
	var first *process
	eventually(t, "one replica leads", func() error {
		if first = leader(); first == nil {
			return fmt.Errorf("none does")
		}
		return nil
	})
	crashLoops(t, newPod(t, ns, "before", "before-1"), 1, "Error")
	if _, err := kagent.Await(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if code := first.stop(); code != 0 {
		t.Errorf("the leader ended with %d", code)
	}
	crashLoops(t, newPod(t, ns, "after", "after-1"), 1, "Error")
	if _, err := kagent.Await(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	for _, p := range replicas {
		if refused := p.refused(); refused != "" {
			t.Errorf("the generated role is too small:\n%s", refused)
		}
	}
	var lease coordinationv1.Lease
	if err := testCluster.client.Get(t.Context(), client.ObjectKey{Namespace: "kagent", Name: "khook.kagent.dev"}, &lease); err != nil {
		t.Error(err)
	}
	if n := len(kagent.Messages()); n != 2 {
		t.Errorf("%d messages for two workloads", n)
	}
}

// TestALeaderAfterWhichAnotherLedBeginsAnew is about a process that lost its Lease and got it back without noticing: the history takes nothing from it.
func TestALeaderAfterWhichAnotherLedBeginsAnew(t *testing.T) {
	kagent := kagenttest.New(t, kagenttest.Options{})
	ns, dir := namespace(t), t.TempDir()
	applyHook(t, ns, "shop", incident.PodRestart)
	args := append(settings(kagent, dir), "--namespaces", ns)
	first := controller(t, args...)
	crashLoops(t, newPod(t, ns, "before", "before-1"), 1, "Error")
	if _, err := kagent.Await(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	other := openHistory(t, filepath.Join(dir, "khook.db"))
	if err := other.Lead(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	crashLoops(t, newPod(t, ns, "after", "after-1"), 1, "Error")
	eventually(t, "the deposed one ends", func() error {
		if !first.ended() {
			return fmt.Errorf("it runs")
		}
		return nil
	})
	if code := first.cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(first.log.String(), "this khook must begin anew: another khook leads now") {
		t.Errorf("it ended with %d: %s", code, tail(first.log.String(), 800))
	}
	controller(t, args...)
	if _, err := kagent.Await(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	if n := len(kagent.Messages()); n != 2 {
		t.Errorf("%d messages for two workloads", n)
	}
}

// TestAKhookThatIsToldToStopGoesOnForAMoment: a Service sends requests to a Pod until it has learned of its end.
func TestAKhookThatIsToldToStopGoesOnForAMoment(t *testing.T) {
	kagent := kagenttest.New(t, kagenttest.Options{})
	ns := namespace(t)
	applyHook(t, ns, "shop", incident.OOMKill)
	p := controller(t, append(settings(kagent, t.TempDir()), "--api-auth", "none", "--shutdown-delay", "1h")...).ready()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "khook has heard it", func() error {
		if !strings.Contains(p.log.String(), "khook was told to stop, and goes on for a moment") {
			return errors.New("the log says nothing of it")
		}
		return nil
	})
	if code, body := get(t, "http://"+p.api+api.Base+"/health"); code != http.StatusOK {
		t.Errorf("the API answers %d %s", code, body)
	}
	crashLoops(t, newPod(t, ns, "cart", "cart-1"), 1, "OOMKilled")
	if _, err := kagent.Await(t.Context(), 1); err != nil {
		t.Errorf("nobody is called meanwhile: %v", err)
	}

	brief := controller(t, append(settings(kagent, t.TempDir()), "--shutdown-delay", "1ms")...).ready()
	if code := brief.stop(); code != 0 {
		t.Errorf("it ended with %d", code)
	}
}
