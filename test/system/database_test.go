package system

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

// onDatabase is settings with a database instead of a file.
func onDatabase(kagent *kagenttest.Server, dir, url string) []string {
	args := append(settings(kagent, dir), "--stabilization=1h", "--api-auth", "none")
	args[slices.Index(args, "--database")+1] = url
	return args
}

// calledFor awaits that the agents were called so many times, the last time for a workload.
func calledFor(t *testing.T, kagent *kagenttest.Server, n int, workload string) {
	t.Helper()
	messages, err := kagent.Await(t.Context(), n)
	if err != nil || !strings.Contains(messages[n-1].Text, workload) {
		t.Fatalf("%v: the agents are told %v", err, messages)
	}
}

// TestWithoutItsDatabaseKhookGoesOnWatchingAndCallsNobody kills the database while khook runs, lets a Pod fail, and starts it again.
func TestWithoutItsDatabaseKhookGoesOnWatchingAndCallsNobody(t *testing.T) {
	pg := pgtest.New(t)
	kagent := kagenttest.New(t, kagenttest.Options{})
	ns := namespace(t)
	applyHook(t, ns, "shop", incident.OOMKill)
	p := controller(t, onDatabase(kagent, t.TempDir(), pg.Database(t))...).ready()
	c := caller{t, "http://" + p.api + api.Base, ""}
	crashLoops(t, newPod(t, ns, "before", "before-1"), 1, "OOMKilled")
	calledFor(t, kagent, 1, "before")

	ctx, stop := context.WithCancel(t.Context())
	stream, ended := &follower{last: "0"}, make(chan struct{})
	var got atomic.Int64
	go func() {
		defer close(ended)
		_ = stream.read(ctx, c.base+"/events/stream?namespace="+ns, "", &got)
	}()
	awaitMessages := func(n int64) {
		t.Helper()
		eventually(t, "the stream tells of it", func() error {
			select {
			case <-ended:
				t.Fatal("the stream has ended")
			default:
			}
			if got.Load() < n {
				return fmt.Errorf("%d messages", got.Load())
			}
			return nil
		})
	}
	awaitMessages(2) // it was killed, and restarted

	pg.Kill()
	crashLoops(t, newPod(t, ns, "meanwhile", "meanwhile-1"), 1, "OOMKilled")
	eventually(t, "readiness says so", func() error {
		if code, body := get(t, "http://"+p.health+"/readyz"); code == http.StatusOK {
			return fmt.Errorf("%d %s", code, body)
		}
		return nil
	})
	refused := c.do(http.MethodGet, "/events", "")
	refused.problem(t, http.StatusServiceUnavailable, "try again")
	if refused.header.Get("Retry-After") == "" {
		t.Error("it does not say when to try again")
	}
	eventually(t, "health says what waits", func() error {
		h := c.do(http.MethodGet, "/health", "")
		if h.code != http.StatusServiceUnavailable || !strings.Contains(h.body, `"status":"unhealthy"`) || !strings.Contains(h.body, "2 signals waiting to be recorded") {
			return fmt.Errorf("%d %s", h.code, h.body)
		}
		wantParts(t, h.body, "history: ", "it can't be reached: see the host and the port in the URL")
		if strings.Contains(h.body, "of-the-tests") {
			t.Fatalf("it has the password: %s", h.body)
		}
		return nil
	})
	if n := len(kagent.Messages()); n != 1 {
		t.Errorf("agents were called %d times", n)
	}

	if err := pg.Start(); err != nil {
		t.Fatal(err)
	}
	calledFor(t, kagent, 2, "meanwhile")
	awaitMessages(4)
	p.ready()
	stop()
	<-ended
	if n := len(kagent.Messages()); n != 2 || stream.gaps > 0 {
		t.Errorf("agents were called %d times, and the stream had %d gaps", n, stream.gaps)
	}
}

// TestAStandbyThatLacksTheLastCommitsIsGoneOnWith promotes a standby that knows of one failure, and not of the next, while both Pods go on failing:
// khook ends, since what it knows is in no row, and begins anew. What is still so is found again. Nobody is called again for what the
// standby knew.
func TestAStandbyThatLacksTheLastCommitsIsGoneOnWith(t *testing.T) {
	primary := pgtest.New(t)
	url := primary.Database(t)
	standby := primary.Standby(t)
	kagent := kagenttest.New(t, kagenttest.Options{})
	ns, dir := namespace(t), t.TempDir()
	applyHook(t, ns, "shop", incident.OOMKill)
	args := onDatabase(kagent, dir, primary.Or(standby, url))
	p := controller(t, args...).ready()
	crashLoops(t, newPod(t, ns, "known", "known-1"), 1, "OOMKilled")
	calledFor(t, kagent, 1, "known")
	awaitMetric(t, p, `khook_deliveries_total{state="succeeded"} 1`)
	standby.CatchUp(t, primary)
	standby.Stop()
	crashLoops(t, newPod(t, ns, "lost", "lost-1"), 1, "OOMKilled")
	calledFor(t, kagent, 2, "lost")
	primary.Kill()
	if err := standby.Start(); err != nil {
		t.Fatal(err)
	}
	standby.Promote(t)
	eventually(t, "khook ends", func() error {
		if !p.ended() {
			return errors.New("it runs")
		}
		return nil
	})
	if !strings.Contains(p.log.String(), "the database has lost what was committed to it") {
		t.Errorf("it does not say why it ended: %s", tail(p.log.String(), 2000))
	}
	p = controller(t, args...).ready() // as Kubernetes does
	c := caller{t, "http://" + p.api + api.Base, ""}
	eventually(t, "what was lost is found again", func() error {
		page := read[api.Page[api.Event]](c, "/events?namespace="+ns)
		var names []string
		for _, e := range page.Items {
			names = append(names, e.ResourceName)
		}
		slices.Sort(names) // each was killed, and restarted
		if !slices.Equal(names, []string{"known-1", "known-1", "lost-1", "lost-1"}) {
			return fmt.Errorf("%v", names)
		}
		return nil
	})
	var of map[string][]api.Delivery
	eventually(t, "what was lost is called for, or refused by an agent that has had the message", func() error {
		of = map[string][]api.Delivery{}
		for _, d := range read[api.Page[api.Delivery]](c, "/deliveries?namespace="+ns).Items {
			of[d.Group] = append(of[d.Group], d)
		}
		if lost := of["Deployment/lost"]; len(lost) != 1 || lost[0].EndedAt.IsZero() {
			return fmt.Errorf("%+v", lost)
		}
		return nil
	})
	calls := map[string]int{}
	for _, m := range kagent.Messages() {
		calls[m.ID]++
		if strings.Contains(m.Text, "known") {
			calls["known"]++
		}
	}
	if len(of["Deployment/known"]) != 1 || calls["known"] != 1 {
		t.Errorf("for what the standby knew agents are called %d times: %+v", calls["known"], of["Deployment/known"])
	}
	if id := incident.DeriveID("message", of["Deployment/lost"][0].ID); calls[id] == 0 {
		t.Errorf("what was lost has another message ID than %s: %v", id, calls)
	}
}
