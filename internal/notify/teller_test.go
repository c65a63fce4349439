package notify

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/notice"
	"github.com/kagent-dev/khook/internal/store"
)

func TestAPersonIsToldWhatAnAgentWantsAndHowToAnswer(t *testing.T) {
	to := newReceiver(t)
	n := toReceiver("oncall", to)
	secretFile := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(secretFile, []byte("Bearer abc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n.Headers = []Header{{Name: "Authorization", ValueFile: secretFile}}
	r := newRig(t, n)
	r.url = "https://ops.example.com/khook"
	r.restart()
	r.tick(2 * time.Second)
	d := r.asks("cart", "k8s_delete_resource {\"name\": \"cart-1\"}")
	r.save(d)
	r.tick(30 * time.Second)
	got := to.got()
	if len(got) != 1 || len(got[0].Items) != 1 {
		t.Fatalf("it got %+v", got)
	}
	item := got[0].Items[0]
	want := fmt.Sprintf("khook approve -n shop %s, or khook reject -n shop %[1]s", d.QuestionID[:8])
	if item.About != "approval" || item.Text != d.Question || item.Command != want || item.Link != "https://ops.example.com/khook/deliveries/"+d.ID || got[0].Cluster != "prod" {
		t.Errorf("%+v", item)
	}
	if a := to.headers.Get("Authorization"); a != "Bearer abc" || to.headers.Get("Idempotency-Key") != got[0].ID {
		t.Errorf("headers %v", to.headers)
	}
	r.restart()
	r.tick(time.Minute)
	if n := to.requests(); n != 1 {
		t.Errorf("it was told %d times, want once, also after a restart", n)
	}
}

func TestWithoutADashboardLinksLeadToTheAPI(t *testing.T) {
	to := newReceiver(t)
	r := newRig(t, toReceiver("oncall", to))
	r.url, r.noPages = "https://ops.example.com/khook", true
	r.restart()
	r.tick(2 * time.Second)
	d := r.asks("cart", "may I?")
	r.save(d)
	r.tick(30 * time.Second)
	if got := to.got(); len(got) != 1 || got[0].Items[0].Link != "https://ops.example.com/khook/api/v1/deliveries/"+d.ID {
		t.Errorf("it got %+v", got)
	}
}

func TestWhatIsNotSoAnyMoreIsToldToNobody(t *testing.T) {
	to := newReceiver(t)
	r := newRig(t, toReceiver("oncall", to))
	r.tick(2 * time.Second)
	answered, asked := r.asks("cart", "may I?"), r.asks("till", "and I?")
	r.save(answered, asked)
	r.tick(3 * time.Second) // seen, and not yet due
	answered.Reply = &delivery.Reply{N: 1, Decision: delivery.Approve, QuestionID: answered.QuestionID}
	r.save(answered)
	r.tick(30 * time.Second)
	got := to.got()
	if len(got) != 1 || len(got[0].Items) != 1 || got[0].Items[0].DeliveryID != asked.ID {
		t.Errorf("it got %+v", got)
	}
}

func TestWhatWaitsWhenANotifierIsNewIsToldOfAndWhatIsOverIsNot(t *testing.T) {
	to := newReceiver(t)
	r := newRig(t, toReceiver("oncall", to))
	over := r.asks("old", "")
	over.State, over.EndedAt, over.Question, over.QuestionID = delivery.Failed, r.clock.Now(), "", ""
	r.save(r.asks("cart", "may I?"), over)
	r.tick(30 * time.Second)
	if got := to.got(); len(got) != 1 || len(got[0].Items) != 1 || got[0].Items[0].About != "approval" {
		t.Errorf("it got %+v", got)
	}
}

// TestWhatHappensAfterANewTermIsToldOfAtOnce: a new leader leaves out more numbers of the change log than can be gone through.
func TestWhatHappensAfterANewTermIsToldOfAtOnce(t *testing.T) {
	to := newReceiver(t)
	r := newRig(t, toReceiver("oncall", to))
	r.save(r.asks("before", "may I?"))
	r.tick(30 * time.Second)
	if err := r.store.Lead(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.restart()
	r.save(r.asks("after", "may I?"))
	r.tick(30 * time.Second)
	if n := toldOf(to); n != 2 {
		t.Errorf("it was told of %d, want 2", n)
	}
}

func TestADeadReceiverHoldsUpNobodyElseAndIsToldWhenItIsBack(t *testing.T) {
	dead, to := newReceiver(t), newReceiver(t)
	r := newRig(t, toReceiver("dead", dead), toReceiver("alive", to))
	dead.does(func(Message) answer { return answer{status: http.StatusBadGateway} })
	r.tick(2 * time.Second)
	for i := range 20 {
		r.save(r.asks(fmt.Sprint("cart-", i), "may I?"))
		r.tick(6 * time.Second)
	}
	r.tick(12 * time.Second)
	if n := toldOf(to); n != 20 {
		t.Errorf("the other one was told of %d, want 20", n)
	}
	if n := dead.requests(); n < 3 || n > 12 {
		t.Errorf("the dead one was tried %d times in two minutes", n)
	}
	if w := r.all.Warnings(); len(w) != 1 || !strings.Contains(w[0], "notifier dead takes nothing since") || !strings.Contains(w[0], "502") {
		t.Errorf("warnings %q", w)
	}
	dead.does(nil)
	r.tick(15 * time.Minute)
	if n := toldOf(dead); n != 20 || len(r.all.Warnings()) != 0 {
		t.Errorf("it was told of %d, want 20; warnings %q", n, r.all.Warnings())
	}
}

func TestWhatIsADayOldIsGivenUpAndWhatStillWaitsIsTold(t *testing.T) {
	to := newReceiver(t)
	r := newRig(t, toReceiver("oncall", to))
	to.does(func(Message) answer { return answer{status: http.StatusServiceUnavailable} })
	r.tick(2 * time.Second)
	fails, asks := r.asks("cart", ""), r.asks("till", "may I?")
	fails.State, fails.EndedAt, fails.Question, fails.QuestionID = delivery.Failed, r.clock.Now(), "", ""
	r.save(fails, asks)
	r.ticks(27*time.Hour, time.Minute)
	to.does(nil)
	r.ticks(time.Hour, time.Minute)
	if got := to.got(); len(got) != 1 || len(got[0].Items) != 1 || got[0].Items[0].DeliveryID != asks.ID {
		t.Errorf("it got %+v", got)
	}
}

// A khook that was down for longer than changes are kept has not read some of them.
func TestWhatWaitsIsToldOfAlsoIfItsChangeIsGone(t *testing.T) {
	to := newReceiver(t)
	r := newRig(t, toReceiver("oncall", to))
	r.tick(2 * time.Minute)
	r.save(r.asks("cart", "may I?"))
	if _, err := r.store.Prune(t.Context(), r.clock.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	r.save(r.asks("till", "and I?"))
	r.restart()
	r.tick(time.Minute)
	if n := toldOf(to); n != 2 {
		t.Errorf("it was told of %d, want 2", n)
	}
}

func TestWhatWaitsForANotifierThatThereIsNoMoreIsForgotten(t *testing.T) {
	to := newReceiver(t)
	r := newRig(t, toReceiver("gone", to), toReceiver("stays", to))
	to.does(func(Message) answer { return answer{status: http.StatusBadGateway} })
	r.tick(2 * time.Second)
	r.save(r.asks("cart", "may I?"))
	r.tick(time.Minute)
	r.config.Notifiers = r.config.Notifiers[1:]
	r.restart()
	r.all.forgetOthers(t.Context())
	for name, want := range map[string]int{"gone": 0, "stays": 1} {
		if n, err := r.store.CountWaitingNotices(t.Context(), name); err != nil || n != want {
			t.Errorf("%d wait for %s, want %d: %v", n, name, want, err)
		}
	}
}

// toldOf is how many things a receiver was told of.
func toldOf(to *receiver) (told int) {
	for _, m := range to.got() {
		told += len(m.Items) + m.More
	}
	return told
}

func TestAStormIsOneMessageAndThenALimit(t *testing.T) {
	to := newReceiver(t)
	n := toReceiver("oncall", to)
	n.MaxPerHour = 8
	r := newRig(t, n)
	r.tick(2 * time.Second)
	for minute := range 60 {
		for i := range 5 {
			r.save(r.asks(fmt.Sprintf("cart-%d-%d", minute, i), "may I?"))
		}
		r.tick(time.Minute)
	}
	got := to.got()
	told := 0
	for _, m := range got {
		told += len(m.Items) + m.More
		if len(m.Items) > maxItems {
			t.Errorf("a message with %d things in words", len(m.Items))
		}
	}
	if len(got) > 8+2 || told < 200 {
		t.Errorf("%d messages in an hour, with %d of 300 things", len(got), told)
	}
	r.tick(time.Hour)
	if n := len(to.got()); n > 2*8+2 {
		t.Errorf("%d messages in two hours", n)
	}
}

func TestAMessageThatMayHaveArrivedHasTheSameIDAgain(t *testing.T) {
	to := newReceiver(t)
	r := newRig(t, toReceiver("oncall", to))
	to.does(func(Message) answer { return answer{status: http.StatusGatewayTimeout, taken: true} })
	r.tick(2 * time.Second)
	r.save(r.asks("cart", "may I?"))
	r.tick(12 * time.Second)
	r.restart() // in the middle of it
	r.save(r.asks("till", "and I?"))
	r.tick(10 * time.Second)
	to.does(nil)
	r.tick(time.Minute)
	by := map[string]string{}
	for _, m := range to.got() {
		for _, i := range m.Items {
			if was, known := by[i.ID]; known && was != m.ID {
				t.Errorf("%s was told in messages %s and %s", i.Title, was, m.ID)
			}
			by[i.ID] = m.ID
		}
	}
	if len(by) != 2 || len(to.got()) < 3 {
		t.Errorf("%d things in %d messages", len(by), len(to.got()))
	}
}

func TestAMessageThatIsRefusedHoldsUpNoOther(t *testing.T) {
	to := newReceiver(t)
	r := newRig(t, toReceiver("oncall", to))
	to.does(func(m Message) answer {
		if strings.Contains(m.Items[0].Text, "poison") {
			return answer{status: http.StatusBadRequest, body: "invalid_payload for /T0SECRET/B0"}
		}
		return answer{status: http.StatusOK, taken: true}
	})
	r.tick(2 * time.Second)
	r.save(r.asks("cart", "poison"))
	r.tick(15 * time.Second)
	r.save(r.asks("till", "may I?"))
	r.tick(time.Minute)
	if got := to.got(); len(got) != 1 || got[0].Items[0].Text != "may I?" {
		t.Errorf("it got %+v", got)
	}
	if n := to.requests(); n != refusals+1 {
		t.Errorf("%d requests, want %d for the one that is refused and one for the other", n, refusals)
	}
}

func TestTheAnswersOfReceiversAreJudged(t *testing.T) {
	html := map[string]string{"Content-Type": "text/html; charset=utf-8"}
	for name, tc := range map[string]struct {
		answer answer
		shape  Shape
		want   string
	}{
		"a login page":     {answer{status: 200, header: html, body: "<html>log in"}, JSON, "a web page answered"},
		"a redirect":       {answer{status: 302, header: map[string]string{"Location": "/elsewhere"}}, JSON, "redirects are not followed"},
		"the secret again": {answer{status: 403, body: "no access to /T0SECRET/B0"}, JSON, "it answered 403 Forbidden: no access to ***"},
		"Teams' lie":       {answer{status: 200, body: "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429"}, Teams, "Teams did not pass it on"},
		"empty":            {answer{status: 204}, JSON, ""},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/elsewhere" {
					t.Error("the redirect was followed")
				}
				for name, value := range tc.answer.header {
					w.Header().Set(name, value)
				}
				w.WriteHeader(tc.answer.status)
				_, _ = w.Write([]byte(tc.answer.body))
			}))
			t.Cleanup(server.Close)
			err := Test(t.Context(), &Notifier{Name: "oncall", Shape: tc.shape, URL: server.URL + "/T0SECRET/B0"}, "prod", "1")
			switch {
			case tc.want == "" && err != nil:
				t.Error(err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("%v, want %q", err, tc.want)
			case err != nil && strings.Contains(err.Error(), "SECRET"):
				t.Errorf("the secret is told: %v", err)
			}
		})
	}
	t.Run("nobody", func(t *testing.T) {
		err := Test(t.Context(), &Notifier{Name: "oncall", Shape: JSON, URL: "http://127.0.0.1:1/T0SECRET/B0"}, "prod", "1")
		if err == nil || !strings.Contains(err.Error(), "connection refused") || strings.Contains(err.Error(), "SECRET") {
			t.Error(err)
		}
	})
}

func TestAnIncidentThatGoesOnWithoutACallIsToldOfOnce(t *testing.T) {
	to := newReceiver(t)
	n := toReceiver("oncall", to)
	n.Tell = []notice.Kind{notice.Uncalled}
	n.Match.Namespaces = []string{"shop"}
	r := newRig(t, n)
	now := r.clock.Now()
	open := func(name, namespace string) *incident.Incident {
		s := incident.Signal{Key: name, Kind: incident.Observed, Type: incident.OOMKill, At: now, Count: 1, Observation: incident.Observation{
			Resource: incident.Resource{Kind: "Pod", Namespace: namespace, Name: name, UID: name}, Reason: "OOMKilled", Message: "it was OOM-killed",
		}}
		return incident.Open(incident.Origin{}, &s)
	}
	alone, elsewhere, called, brief := open("alone", "shop"), open("elsewhere", "bank"), open("called", "shop"), open("brief", "shop")
	d := r.asks("called", "may I?")
	d.IncidentID = called.ID
	if err := r.store.Write(t.Context(), func(tx *store.Tx) error {
		return tx.Save(t.Context(), &store.Changes{Incidents: []*incident.Incident{alone, elsewhere, called, brief}, Deliveries: []*delivery.Delivery{d}})
	}); err != nil {
		t.Fatal(err)
	}
	r.tick(29 * time.Minute)
	if n := to.requests(); n != 0 {
		t.Fatalf("told after 29 minutes: %+v", to.got())
	}
	brief.Resolve(incident.Recovered, r.clock.Now())
	if err := r.store.Write(t.Context(), func(tx *store.Tx) error {
		return tx.Save(t.Context(), &store.Changes{Incidents: []*incident.Incident{brief}})
	}); err != nil {
		t.Fatal(err)
	}
	r.tick(3 * time.Minute)
	r.restart()
	r.tick(10 * time.Minute)
	got := to.got()
	if len(got) != 1 || len(got[0].Items) != 1 || got[0].Items[0].IncidentID != alone.ID || !strings.HasPrefix(got[0].Items[0].Command, "khook why ") {
		t.Errorf("it got %+v", got)
	}
}

func TestALoopGuardIsToldOf(t *testing.T) {
	to := newReceiver(t)
	r := newRig(t, toReceiver("oncall", to))
	d := r.asks("cart", "")
	d.State, d.EndedAt = delivery.Canceled, r.clock.Now()
	g := &delivery.GroupState{GroupKey: delivery.GroupKey{Hook: d.Hook, Config: d.Config, Group: d.Group}, Hold: delivery.LoopGuard, Why: "3 calls within an hour", HoldEnds: r.clock.Now().Add(time.Hour), NeedsPerson: true}
	if err := r.store.Write(t.Context(), func(tx *store.Tx) error {
		return tx.Save(t.Context(), &store.Changes{Deliveries: []*delivery.Delivery{d}, Groups: []*delivery.GroupState{g}})
	}); err != nil {
		t.Fatal(err)
	}
	r.tick(time.Minute)
	r.restart()
	r.tick(time.Minute)
	got := to.got()
	if len(got) != 1 || got[0].Items[0].About != "loop-guard" || got[0].Items[0].Command != "khook deliveries resume "+d.ID || got[0].Items[0].Text != g.Why {
		t.Errorf("it got %+v", got)
	}
}

func TestKhookTellsThatItIsUnwellWithoutItsHistory(t *testing.T) {
	to := newReceiver(t)
	r := newRig(t, toReceiver("oncall", to))
	r.tick(2 * time.Second)
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
	r.unwell["the history can't be written"] = "disk full"
	r.tick(time.Minute)
	if n := to.requests(); n != 0 {
		t.Fatalf("told before it had gone on for two minutes: %+v", to.got())
	}
	r.tick(5 * time.Minute)
	got := to.got()
	if len(got) != 1 || got[0].Items[0].Text != "disk full" || got[0].Items[0].Command != "khook health" || !strings.Contains(got[0].Items[0].Title, "unwell for 2m") {
		t.Fatalf("it got %+v", got)
	}
	delete(r.unwell, "the history can't be written")
	r.tick(time.Minute)
	if got := to.got(); len(got) != 2 || got[1].Items[0].About != "well" {
		t.Errorf("it got %+v", got)
	}
}

func TestDurationsOfTheFileMayHaveDays(t *testing.T) {
	for text, want := range map[string]time.Duration{"30s": 30 * time.Second, "1d": 24 * time.Hour, "1d12h": 36 * time.Hour} {
		var d Duration
		if err := d.UnmarshalJSON([]byte(`"` + text + `"`)); err != nil || time.Duration(d) != want {
			t.Errorf("%s is %s, %v", text, time.Duration(d), err)
		}
	}
}

func TestAFileThatCannotBeMeantIsRefusedWithWhatToChange(t *testing.T) {
	for text, want := range map[string]string{
		"notifiers: [{name: a, shape: slack, url: http://localhost/a, tel: [outcome]}]":                                `unknown field "tel"`,
		"notifiers: [{name: A b, shape: slack, url: http://localhost/a}]":                                              `name is "A b"`,
		"notifiers: [{name: a, shape: sms, url: http://localhost/a}]":                                                  `shape is "sms": it must be one of [slack teams`,
		"notifiers: [{name: a, shape: slack}]":                                                                         "set one of url and urlFile",
		"notifiers: [{name: a, shape: slack, url: 'hooks.slack.com/T0'}]":                                              "url is no URL",
		"notifiers: [{name: a, shape: slack, url: http://localhost/a, tell: [all]}]":                                   `tell has "all"`,
		"notifiers: [{name: a, shape: slack, url: http://localhost/a, match: {types: [oom]}}]":                         `match.types has "oom"`,
		"notifiers: [{name: a, shape: slack, url: http://localhost/a, match: {hooks: [h]}}]":                           "write it as namespace/name",
		"notifiers: [{name: a, shape: slack, url: http://localhost/a, groupWait: 5}]":                                  "write it such as 90s",
		"notifiers: [{name: a, shape: slack, url: http://localhost/a, maxPerHour: -1}]":                                "maxPerHour is -1",
		"notifiers: [{name: a, shape: slack, url: http://localhost/a, template: x}]":                                   "for the shape template only",
		"notifiers: [{name: a, shape: json, url: http://localhost/a}, {name: a, shape: json, url: http://localhost/}]": "another one with the name",
		"notifiers: [{name: a, shape: json, url: http://localhost/a, headers: [{name: 'X: y', value: z}]}]":            "can't be set",
	} {
		path := filepath.Join(t.TempDir(), "notifiers.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
