package system

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

// fleet is several khooks of one cluster on one PostgreSQL; one of them leads.
type fleet struct {
	*staffed
	all []*process
}

// newFleet starts n khooks whose agents do what staffed says.
func newFleet(t *testing.T, n int) *fleet {
	t.Helper()
	url := pgtest.Shared(t).Database(t)
	r := &fleet{staffed: &staffed{T: t, ns: namespace(t)}}
	r.kagent = staff(t)
	applyHook(t, r.ns, "shop", incident.OOMKill)
	r.args = append(settings(r.kagent, t.TempDir()), "--stabilization=1h", "--api-rate-limit=10000", "--api-rate-burst=10000", "--namespaces", r.ns,
		"--leader-elect", "--leader-election-namespace", r.ns)
	r.args[slices.Index(r.args, "--database")+1] = url
	letElect(t, r.ns)
	for range n {
		r.all = append(r.all, controller(t, r.args...))
	}
	r.responder.t, r.responder.token = t, r.account("ann", grant("hooks", []string{"list"}), grant("hooks/deliveries", []string{"get", "update", "approve"}), grant("hooks/pause", []string{"update"}))
	r.leader()
	for _, p := range r.all {
		answering(t, p)
	}
	return r
}

// answering waits until a replica answers, whether it leads or not.
func answering(t *testing.T, p *process) {
	t.Helper()
	eventually(t, "a replica answers", func() error {
		if code, body := get(t, "http://"+p.health+"/readyz"); code != http.StatusOK {
			return fmt.Errorf("%d %s", code, body)
		}
		return nil
	})
}

// leader waits until one of those that run leads.
func (r *fleet) leader() (leads *process) {
	r.Helper()
	eventually(r, "one replica leads", func() error {
		for _, p := range r.all {
			if !p.ended() && strings.Contains(p.scrape(), `khook_watch_up{resource="events"} 1`) {
				leads = p
				return nil
			}
		}
		return fmt.Errorf("none does")
	})
	return leads
}

func (r *fleet) followers() (all []*process) {
	leader := r.leader()
	return slices.DeleteFunc(slices.Clone(r.all), func(p *process) bool { return p == leader })
}

// at makes a replica the one that is asked.
func (r *fleet) at(p *process) caller {
	r.khook, r.responder.base = p, "http://"+p.api+api.Base
	return r.responder
}

// TestPeopleActOnEveryReplica: whoever is asked, the one that leads does it, once, and says the same.
func TestPeopleActOnEveryReplica(t *testing.T) {
	r := newFleet(t, 3)
	followers := r.followers()
	ann := "system:serviceaccount:" + r.ns + ":ann"
	for n, p := range followers {
		r.at(p)
		suffix := fmt.Sprint("-1-", n)
		d := r.fail("ask"+suffix, delivery.InputRequired)
		r.responder.do(http.MethodPost, "/deliveries/"+d.ID+"/reply", `{"text": "a", "questionId": "another"}`, "Content-Type: application/json").
			problem(t, http.StatusConflict, "asks something else by now")
		r.responder.post("/deliveries/"+d.ID+"/reply", `{"text": "yes"}`, http.StatusAccepted)
		if d = r.until(d.ID, delivery.Succeeded); d.Answer != "told: yes" || d.Replies != 1 {
			t.Errorf("answer %q, %d replies", d.Answer, d.Replies)
		}
		again := r.responder.post("/deliveries/"+d.ID+"/retry", "", http.StatusCreated)
		made := strings.TrimPrefix(again.header.Get("Location"), api.Base+"/deliveries/")
		if second := r.until(made, delivery.Succeeded); second.Answer != "once more" || second.RequestedBy != ann {
			t.Errorf("answer %q, wanted by %q", second.Answer, second.RequestedBy)
		}
		r.responder.do(http.MethodPost, "/deliveries/"+d.ID+"/retry", "").problem(t, http.StatusConflict, "tried again already, as delivery "+made)
		r.responder.post("/deliveries/"+d.ID+"/resume", "", http.StatusAccepted)

		d = r.fail("approve"+suffix, delivery.InputRequired)
		r.responder.post("/deliveries/"+d.ID+"/reply", `{"decision": "approve", "questionId": "`+d.QuestionID+`"}`, http.StatusAccepted)
		if d = r.until(d.ID, delivery.Succeeded); !strings.Contains(d.Answer, `"decision_type":"approve"`) {
			t.Errorf("answer %q", d.Answer)
		}

		d = r.fail("work"+suffix, delivery.Working)
		paused := r.responder.post("/pause", `{"namespace": "`+r.ns+`", "reason": "x", "cancel": true}`, http.StatusOK)
		if !strings.Contains(paused.body, `"canceled":1`) {
			t.Errorf("%s", paused.body)
		}
		r.until(d.ID, delivery.Canceled)
		r.responder.do(http.MethodPost, "/deliveries/"+d.ID+"/cancel", "").problem(t, http.StatusConflict, "has ended as canceled")
		if resumed := r.responder.post("/resume", `{"namespace": "`+r.ns+`"}`, http.StatusOK); !strings.Contains(resumed.body, `"ended":true`) {
			t.Errorf("%s", resumed.body)
		}
		if resumed := r.responder.post("/resume", `{"namespace": "`+r.ns+`"}`, http.StatusOK); !strings.Contains(resumed.body, `"ended":false`) {
			t.Errorf("%s", resumed.body)
		}
	}
	if replies := len(r.kagent.Requests(kagenttest.Cancel)); replies != len(followers) {
		t.Errorf("agents were told %d times to stop", replies)
	}
	r.leader().kill() // and nobody leads until its Lease has run out
	p := followers[0]
	refused := r.at(p).do(http.MethodPost, "/pause", `{"namespace": "`+r.ns+`", "reason": "nobody leads"}`, "Content-Type: application/json")
	if refused.code == http.StatusOK {
		return // a follower was quick
	}
	refused.problem(t, http.StatusServiceUnavailable, "nothing was done, and nothing will be; try again")
	if refused.header.Get("Retry-After") == "" {
		t.Error("it does not say when to try again")
	}
	r.leader()
	if pauses := r.responder.get("/pauses?namespace=" + r.ns).body; strings.Contains(pauses, "nobody leads") {
		t.Errorf("what was taken back is done: %s", pauses)
	}
}

// follower reads a stream for as long as it is told to, from one replica after the other.
type follower struct {
	seen []string // the IDs of messages that were told, in order
	gaps int
	last string
}

// read reads until the connection ends.
func (f *follower) read(ctx context.Context, url string, token string, got *atomic.Int64) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if f.last != "" {
		req.Header.Set("Last-Event-ID", f.last)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	var id, event string
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch field {
		case "id":
			id = value
		case "event":
			event = value
		case "":
			if value != "" || id == "" { // a comment
				continue
			}
			switch event {
			case "event":
				f.seen = append(f.seen, id)
				got.Add(1)
			case "gap":
				f.gaps++
			}
			f.last, id, event = id, "", ""
		}
	}
	return lines.Err()
}

// TestAStreamGoesOnAtAnotherReplica restarts each replica in turn while things happen: a client that comes back to another one with its last ID
// misses nothing and sees nothing twice.
func TestAStreamGoesOnAtAnotherReplica(t *testing.T) {
	clients, pods := 200, 12
	if testing.Short() {
		clients = 20
	}
	r := newFleet(t, 3)
	r.at(r.all[0])
	var mu sync.Mutex // held while r.all changes
	pick := func(n int) string {
		mu.Lock()
		defer mu.Unlock()
		return "http://" + r.all[n%len(r.all)].api + api.Base + "/events/stream?namespace=" + r.ns
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got, open atomic.Int64
	followers := make([]*follower, clients)
	var wg sync.WaitGroup
	for n := range followers {
		f := &follower{last: "0"}
		followers[n] = f
		wg.Go(func() {
			for attempt := n; ctx.Err() == nil; attempt++ {
				open.Add(1)
				_ = f.read(ctx, pick(attempt), r.responder.token, &got)
				open.Add(-1)
				select {
				case <-ctx.Done():
				case <-time.After(50 * time.Millisecond): // as a browser waits before it comes back
				}
			}
		})
	}
	failed := 0
	fail := func(n int) {
		for range n {
			name := "done-" + strconv.Itoa(failed)
			crashLoops(t, newPod(t, r.ns, name, name+"-1"), 1, "OOMKilled")
			failed++
		}
	}
	fail(pods / 4)
	for n := range r.all {
		fail(pods / 4)
		mu.Lock()
		old := r.all[n]
		mu.Unlock()
		old.kill()
		again := controller(t, r.args...)
		mu.Lock()
		r.all[n] = again
		mu.Unlock()
		answering(t, again)
		r.leader()
	}
	eventually(t, "all that failed is recorded", func() error {
		page := read[api.Page[api.Event]](r.at(r.leader()), "/events?limit=500&namespace="+r.ns)
		if len(page.Items) < failed {
			return fmt.Errorf("%d of %d", len(page.Items), failed)
		}
		return nil
	})
	one, ben := &follower{last: "0"}, r.account("ben", grant("hooks", []string{"list"}))
	whole, stop := context.WithCancel(t.Context())
	var count atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = one.read(whole, pick(0), ben, &count)
	}()
	eventually(t, "the history is told", func() error {
		if n := count.Load(); n < int64(failed) || got.Load() < n*int64(clients) {
			return fmt.Errorf("%d messages of %d, and %d to %d clients", n, failed, got.Load(), clients)
		}
		return nil
	})
	stop()
	<-done
	cancel()
	wg.Wait()
	want := one.seen
	for n, f := range followers {
		if !slices.Equal(f.seen, want) || f.gaps > 0 {
			t.Errorf("client %d has seen %v with %d gaps, want %v", n, f.seen, f.gaps, want)
		}
	}
	t.Logf("%d clients have seen %d messages each, over a restart of each of %d replicas", clients, len(want), len(r.all))
}
