package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/access"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// grants is an Access whose callers' tokens are their names, and that grants them what it says, as Roles do.
type grants struct {
	rights map[string][]access.Right
	asked  atomic.Int64
	down   atomic.Bool // rights can't be asked for
}

type grantedName string

func (n grantedName) GetName() string { return string(n) }

func (g *grants) Authenticate(r *http.Request, address string) (access.Caller, error) {
	name := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if _, known := g.rights[name]; !known {
		return nil, access.ErrUnknownCaller
	}
	return grantedName(name), nil
}

func (g *grants) May(_ context.Context, c access.Caller, asked access.Right) (bool, error) {
	g.asked.Add(1)
	if g.down.Load() {
		return false, errors.New("Kubernetes is away")
	}
	return slices.ContainsFunc(g.rights[c.GetName()], func(has access.Right) bool {
		return has.Verb == asked.Verb && has.Clusters == asked.Clusters && has.Subresource == asked.Subresource && has.Path == asked.Path &&
			(has.Namespace == "" || has.Namespace == asked.Namespace) && (has.Name == "" || has.Name == asked.Name)
	}), nil
}

var memory = delivery.HookRef{Namespace: shop, Name: "memory"}

// people are callers of each kind.
func people() *grants {
	list := access.ReadHooks(shop)
	inAll := func(r access.Right) access.Right { r.Namespace, r.Name = "", ""; return r }
	anyIn := func(namespace string, right func(delivery.HookRef) access.Right) access.Right {
		return right(delivery.HookRef{Namespace: namespace})
	}
	return &grants{rights: map[string][]access.Right{
		"stranger":          {},
		"elsewhere":         {access.ReadHooks("pay"), anyIn("pay", access.ReadTexts), anyIn("pay", access.ActOn), anyIn("pay", access.Decide)},
		"viewer":            {list},
		"editor":            {list, {Verb: "update", Namespace: shop}, {Verb: "get", Namespace: shop}},
		"reader":            {list, anyIn(shop, access.ReadTexts)},
		"reader of memory":  {list, access.ReadTexts(memory)},
		"reader of another": {list, access.ReadTexts(delivery.HookRef{Namespace: shop, Name: "another"})},
		"texts only":        {access.ReadTexts(memory)},
		"responder":         {list, anyIn(shop, access.ActOn)},
		"responder only":    {access.ActOn(memory)},
		"approver":          {list, anyIn(shop, access.Decide)},
		"admin":             {inAll(list), inAll(access.ReadTexts(memory)), inAll(access.ActOn(memory)), inAll(access.Decide(memory))},
	}}
}

// What texts of deliveries have in the tests: what agents and people said, and the marks of prompts.
const (
	canaryWord = "CANARY"
	mark       = "⟦"
)

func hasTexts(body string) bool {
	return strings.Contains(body, canaryWord) || strings.Contains(body, mark)
}

// speak lets the delivery carry a canary wherever prompts, agents and people could put words: in each text
// that is not listed here as khook's or the cluster's own.
func (f *fixture) speak(t *testing.T, state delivery.State) {
	t.Helper()
	f.make(t, func(d *delivery.Delivery) {
		f.incident = d.IncidentID
		words(d)
		d.State, d.Data, d.CancelRequestedBy = state, `{"about": "`+canaryWord+`"}`, ""
		if state.Ended() {
			d.EndedAt = time.Now()
		} else {
			d.Reply = &delivery.Reply{N: 1, Text: canaryWord, By: "ann", At: time.Now()}
		}
	})
	var log []delivery.Entry
	for _, kind := range []delivery.EntryKind{delivery.EntryCall, delivery.EntryState, delivery.EntryMessage, delivery.EntryArtifact, delivery.EntryToolCall, delivery.EntryToolAnswer, delivery.EntryQuestion, delivery.EntryReply, delivery.EntryPerson} {
		log = append(log, delivery.Entry{DeliveryID: f.delivery, Source: string(kind), At: time.Now(), Kind: kind, By: "ann", Name: canaryWord, Text: canaryWord})
	}
	if err := f.store.Write(t.Context(), func(tx *store.Tx) error { return tx.Save(t.Context(), &store.Changes{Entries: log}) }); err != nil {
		t.Fatal(err)
	}
}

// ownFields are the texts of a delivery that no agent and no prompt can write.
var ownFields = []string{"ID", "Cluster", "HookUID", "Config", "Group", "IncidentID", "RetryOf", "RequestedBy", "Failure", "Dialect", "TaskState", "QuestionID", "CancelRequestedBy"}

func words(d *delivery.Delivery) {
	v := reflect.ValueOf(d).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.Type() == reflect.TypeFor[string]() && !slices.Contains(ownFields, v.Type().Field(i).Name) {
			f.SetString(canaryWord)
		}
	}
}

func TestADeliveryWithoutItsTextsHasNoWordThatAnAgentOrAPromptCouldHaveWritten(t *testing.T) {
	d := &delivery.Delivery{Reply: &delivery.Reply{Text: canaryWord}}
	words(d)
	d.Data = `{"about": "` + canaryWord + `"}`
	if text, err := json.Marshal(api.DeliveryOf(d)); err != nil || strings.Count(string(text), canaryWord) < 7 {
		t.Fatalf("the canaries are not shown to who may read them: %v %s", err, text)
	}
	if text, err := json.Marshal(api.DeliveryOf(withoutTexts(d))); err != nil || strings.Contains(string(text), canaryWord) {
		t.Errorf("%v: %s", err, text)
	}
}

// as asks as somebody.
func (f *fixture) as(who, method, target, body string) *httptest.ResponseRecorder {
	return askServer(f.Server, method, target, body, "Authorization", "Bearer "+who, "Content-Type", "application/json")
}

func TestEachRightOpensItsRoutesAndNoOther(t *testing.T) {
	g := people()
	f := newFixture(t, func(c *Config) { c.Access = g })
	f.speak(t, delivery.Succeeded)
	const text, decision = `{"text": "yes"}`, `{"decision": "approve", "questionId": "q"}`
	// What a caller may do, with what it is told otherwise: missing: as if there was no such ID; else the
	// right that is named.
	const missing, update, approve, done = "missing", "the verb update on hooks/deliveries", "the verb approve on hooks/deliveries", ""
	for who, want := range map[string]struct{ incident, delivery, act, decide string }{
		"stranger":          {missing, missing, missing, missing},
		"elsewhere":         {missing, missing, missing, missing},
		"viewer":            {done, done, update, approve},
		"editor":            {done, done, update, approve},
		"reader":            {done, done, update, approve},
		"reader of memory":  {done, done, update, approve},
		"reader of another": {done, done, update, approve},
		"texts only":        {missing, done, missing, missing},
		"responder":         {done, done, done, approve},
		"responder only":    {missing, missing, done, missing},
		"approver":          {done, done, update, done},
		"admin":             {done, done, done, done},
	} {
		for _, route := range []struct{ method, path, id, action, body, want string }{
			{http.MethodGet, "/incidents/", f.incident, "", "", want.incident}, {http.MethodGet, "/deliveries/", f.delivery, "", "", want.delivery},
			{http.MethodPost, "/deliveries/", f.delivery, "/cancel", "", want.act}, {http.MethodPost, "/deliveries/", f.delivery, "/retry", "", want.act},
			{http.MethodPost, "/deliveries/", f.delivery, "/resume", "", want.act}, {http.MethodPost, "/deliveries/", f.delivery, "/reply", text, want.act},
			{http.MethodPost, "/deliveries/", f.delivery, "/reply", decision, want.decide},
		} {
			name := fmt.Sprintf("%s: %s %s%s %s", who, route.method, route.path, route.action, route.body)
			w := f.as(who, route.method, api.Base+route.path+route.id+route.action, route.body)
			none := f.as(who, route.method, api.Base+route.path+incident.DeriveID("never was")+route.action, route.body)
			switch {
			case none.Code != http.StatusNotFound:
				t.Errorf("%s: an ID that is not there gives %d %s", name, none.Code, none.Body)
			case route.want == missing:
				if w.Code != http.StatusNotFound || w.Body.String() != none.Body.String() {
					t.Errorf("%s: %d %s, not as for an ID that is not there", name, w.Code, w.Body)
				}
			case route.want == done:
				if w.Code == http.StatusForbidden || w.Code == http.StatusNotFound || w.Code >= http.StatusInternalServerError {
					t.Errorf("%s: %d %s", name, w.Code, w.Body)
				}
			case w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), route.want) || !strings.Contains(w.Body.String(), who):
				t.Errorf("%s: %d %s, not a refusal that names %q", name, w.Code, w.Body, route.want)
			}
		}
	}
}

func TestTextsAreShownToThoseOnlyWhoMayReadThem(t *testing.T) {
	g := people()
	f := newFixture(t, func(c *Config) { c.Access = g })
	for _, state := range []delivery.State{delivery.InputRequired, delivery.Failed} {
		f.speak(t, state)
		dl, story := api.Base+"/deliveries/"+f.delivery, api.Base+"/incidents/"+f.incident
		for _, who := range []string{"reader", "reader of memory", "admin"} {
			for _, target := range []string{dl, story} {
				body := f.as(who, http.MethodGet, target, "").Body.String()
				if strings.Contains(body, "textsWithheld") || !strings.Contains(body, `"prompt":"`+mark) || !strings.Contains(body, `"answer":"`+canaryWord) || !strings.Contains(body, `"about":"`+canaryWord) {
					t.Errorf("%s does not see the texts in %s: %.500s", who, target, body)
				}
			}
		}
		for _, who := range []string{"viewer", "editor", "reader of another", "responder", "approver"} {
			for _, target := range []string{dl, story} {
				w := f.as(who, http.MethodGet, target, "")
				body := w.Body.String()
				if w.Code != http.StatusOK || hasTexts(body) || !strings.Contains(body, `"textsWithheld":"to read them ask for the verb get on hooks/deliveries (API group kagent.dev) in namespace shop"`) {
					t.Errorf("%s in %s: %d %.1000s", who, target, w.Code, body)
				}
			}
		}
		var seen api.DeliveryDetail
		if err := json.Unmarshal(f.as("viewer", http.MethodGet, dl, "").Body.Bytes(), &seen); err != nil {
			t.Fatal(err)
		}
		if len(seen.Log) != 9 || seen.Log[2].Kind != delivery.EntryMessage || seen.Log[2].By != "ann" || len(seen.Timeline) == 0 || len(seen.Incidents) == 0 || seen.State != state {
			t.Errorf("a viewer does not see what happened: %+v", seen)
		}
	}
	t.Run("what acting answers with", func(t *testing.T) {
		f.speak(t, delivery.Failed)
		if w := f.as("responder", http.MethodPost, api.Base+"/deliveries/"+f.delivery+"/resume", ""); w.Code != http.StatusAccepted || hasTexts(w.Body.String()) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if w := f.as("admin", http.MethodPost, api.Base+"/deliveries/"+f.delivery+"/resume", ""); w.Code != http.StatusAccepted || !strings.Contains(w.Body.String(), canaryWord) {
			t.Errorf("to who may read: %d %s", w.Code, w.Body)
		}
	})
}

// TestTheInboxCarriesTheQuestionsOfHooksWhoseTextsTheCallerMayRead also waits in a Hook of another name.
func TestTheInboxCarriesTheQuestionsOfHooksWhoseTextsTheCallerMayRead(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Access = people() })
	f.speak(t, delivery.InputRequired)
	if body := f.as("admin", http.MethodGet, api.Base+"/inbox?namespace="+shop, "").Body.String(); strings.Contains(body, f.delivery) {
		t.Errorf("a question that was answered, or is canceled, waits: %s", body)
	}
	f.make(t, func(d *delivery.Delivery) { d.Reply, d.CancelRequestedBy = nil, "" })
	for who, reads := range map[string]bool{"viewer": false, "reader of another": false, "responder": false, "approver": false, "reader of memory": true, "reader": true, "admin": true} {
		w := f.as(who, http.MethodGet, api.Base+"/inbox?namespace="+shop, "")
		if body := w.Body.String(); w.Code != http.StatusOK || hasTexts(body) != reads || strings.Contains(body, "textsWithheld") == reads || !strings.Contains(body, f.delivery) {
			t.Errorf("%s: %d %.2000s", who, w.Code, body)
		}
	}
	for _, who := range []string{"elsewhere", "stranger"} {
		if w := f.as(who, http.MethodGet, api.Base+"/inbox?namespace="+shop, ""); w.Code != http.StatusForbidden {
			t.Errorf("%s: %d", who, w.Code)
		}
	}
}

// TestTheInboxHasWhatOnlyAPersonLetsThrough: the loop guard's groups, with the delivery that khook deliveries resume takes.
func TestTheInboxHasWhatOnlyAPersonLetsThrough(t *testing.T) {
	f := newFixture(t)
	f.make(t, func(d *delivery.Delivery) { d.State, d.EndedAt = delivery.Failed, time.Now() })
	dl, err := f.store.Delivery(t.Context(), f.delivery)
	if err != nil {
		t.Fatal(err)
	}
	group := func(name string, forGood bool) *delivery.GroupState {
		key := dl.Key()
		if name != "" {
			key.Group = name
		}
		return &delivery.GroupState{GroupKey: key, Hold: delivery.LoopGuard, Why: "it came back after each call", HoldEnds: time.Now().Add(time.Hour), NeedsPerson: forGood}
	}
	if err := f.store.Write(t.Context(), func(tx *store.Tx) error {
		return tx.Save(t.Context(), &store.Changes{Groups: []*delivery.GroupState{group("", true), group("Deployment/by-itself", false)}})
	}); err != nil {
		t.Fatal(err)
	}
	var box api.Inbox
	if err := json.Unmarshal(askServer(f.Server, http.MethodGet, api.Base+"/inbox?namespace="+shop, "").Body.Bytes(), &box); err != nil {
		t.Fatal(err)
	}
	if len(box.Items) != 1 || box.Items[0].Kind != api.InboxLoopGuard || box.Items[0].DeliveryID != f.delivery || box.Items[0].Text != "it came back after each call" {
		t.Errorf("%+v", box)
	}
	if err := json.Unmarshal(askServer(f.Server, http.MethodGet, api.Base+"/inbox?namespace=elsewhere", "").Body.Bytes(), &box); err != nil || len(box.Items) != 0 {
		t.Errorf("another namespace has %+v, %v", box, err)
	}
}

// TestNoListAndNoOtherRouteCarriesTexts asks each GET route of the document but the inbox and the two that tell a story, as
// somebody who may read everything.
func TestNoListAndNoOtherRouteCarriesTexts(t *testing.T) {
	g := people()
	f := newFixture(t, func(c *Config) { c.Access = g })
	for _, state := range []delivery.State{delivery.InputRequired, delivery.Failed} {
		f.speak(t, state)
		for _, op := range operations(f.Server) {
			if op.method != http.MethodGet || strings.HasSuffix(op.path, "/{id}") || strings.HasSuffix(op.path, "/inbox") {
				continue
			}
			target := strings.NewReplacer("{namespace}", shop, "{name}", "memory", "{eventType}", "oom-kill", "{id}", f.incident).Replace(op.path)
			if target == streamPath {
				target += "?after=0"
			}
			if strings.HasSuffix(target, "/why") {
				target += "?incident=" + f.incident
			}
			if w := f.as("admin", http.MethodGet, target, ""); w.Code != http.StatusOK || hasTexts(w.Body.String()) {
				t.Errorf("%s: %d %.3000s", target, w.Code, w.Body)
			}
		}
	}
}

// TestAStrangerCannotTellAnIDFromNone also compares what cannot be seen in the answer: how much Kubernetes is
// asked, and what happens when it can't be.
func TestAStrangerCannotTellAnIDFromNone(t *testing.T) {
	g := people()
	f := newFixture(t, func(c *Config) { c.Access = g })
	for _, route := range []struct{ method, path, id, action string }{
		{http.MethodGet, "/incidents/", f.incident, ""}, {http.MethodGet, "/incidents/", f.incident, "/earlier"}, {http.MethodGet, "/deliveries/", f.delivery, ""}, {http.MethodPost, "/deliveries/", f.delivery, "/cancel"},
	} {
		for _, down := range []bool{false, true} {
			g.down.Store(down)
			var answers []string
			for _, id := range []string{route.id, incident.DeriveID("never was"), "x"} {
				before := g.asked.Load()
				w := f.as("stranger", route.method, api.Base+route.path+id+route.action, "")
				answers = append(answers, fmt.Sprintf("%d, after %d questions: %s", w.Code, g.asked.Load()-before, w.Body))
			}
			if answers[0] != answers[1] || answers[0] != answers[2] {
				t.Errorf("%s %s%s, Kubernetes away: %t: the answers differ:\n%s", route.method, route.path, route.action, down, strings.Join(answers, "\n"))
			}
		}
	}
}

func TestADecisionMustNameTheQuestionThatIsAskedNow(t *testing.T) {
	g := people()
	f := newFixture(t, func(c *Config) { c.Access = g })
	asks := func(question string, approval bool) {
		f.make(t, func(d *delivery.Delivery) {
			d.State, d.Question, d.QuestionID, d.NeedsApproval = delivery.InputRequired, question, incident.DeriveID(question), approval
		})
	}
	reply := api.Base + "/deliveries/" + f.delivery + "/reply"
	read := incident.DeriveID("read the log?")
	for _, decision := range []string{"approve", "reject"} {
		asks("read the log?", true)
		if w := f.as("admin", http.MethodPost, reply, `{"decision": "`+decision+`"}`); w.Code != http.StatusPreconditionRequired || w.Header().Get("Content-Type") != problemType || !strings.Contains(w.Body.String(), "questionId") {
			t.Errorf("%s without a question: %d %s", decision, w.Code, w.Body)
		}
		asks("delete the volume?", true) // after the person had read
		if w := f.as("admin", http.MethodPost, reply, `{"decision": "`+decision+`", "questionId": "`+read+`"}`); w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "something else by now") {
			t.Errorf("%s of another question: %d %s", decision, w.Code, w.Body)
		}
		if d, err := f.store.Delivery(t.Context(), f.delivery); err != nil || d.Reply != nil {
			t.Errorf("%s is recorded: %v %+v", decision, err, d.Reply)
		}
		asks("read the log?", true)
		if w := f.as("approver", http.MethodPost, reply, `{"decision": "`+decision+`", "text": "as agreed", "questionId": "`+read+`"}`); w.Code != http.StatusAccepted {
			t.Errorf("%s: %d %s", decision, w.Code, w.Body)
		}
	}
	asks("which one?", false)
	if w := f.as("responder", http.MethodPost, reply, `{"text": "the first", "questionId": "`+read+`"}`); w.Code != http.StatusConflict {
		t.Errorf("a text for another question: %d %s", w.Code, w.Body)
	}
	if w := f.as("responder", http.MethodPost, reply, `{"text": "the first"}`); w.Code != http.StatusAccepted {
		t.Errorf("a text: %d %s", w.Code, w.Body)
	}
}

// ill is a khook that does not do its work, for a reason that names what not everybody may know.
type ill struct{ calm }

func (ill) Pipeline(context.Context) api.PipelineHealth {
	return api.PipelineHealth{State: "leading", PartHealth: api.PartHealth{Status: api.Unhealthy, Reason: "the watch of pods in " + canaryWord + " is down"}}
}

func (ill) Plugins() []api.PluginHealth {
	return []api.PluginHealth{{Name: "kubernetes-pods", Namespace: canaryWord, Error: canaryWord}}
}

func TestEverybodyIsToldAWordOfTheHealthAndTheRestToThoseWhoMayReadIt(t *testing.T) {
	g := people()
	g.rights["diagnoses"] = []access.Right{access.GetPath("/diagnostics")}
	f := newFixture(t, func(c *Config) { c.Access = g })
	sick := newFixture(t, func(c *Config) { c.Access, c.State = g, ill{} })
	get := func(f *fixture, who string) *httptest.ResponseRecorder {
		if who == "" {
			return askServer(f.Server, http.MethodGet, api.Base+"/health", "")
		}
		return askServer(f.Server, http.MethodGet, api.Base+"/health", "", "Authorization", "Bearer "+who)
	}
	for _, who := range []string{"", "not a token", "stranger", "viewer", "reader"} {
		if w := get(f, who); w.Code != http.StatusOK || strings.TrimSpace(w.Body.String()) != `{"status":"healthy"}` {
			t.Errorf("%q: %d %s", who, w.Code, w.Body)
		}
		if w := get(sick, who); w.Code != http.StatusServiceUnavailable || strings.TrimSpace(w.Body.String()) != `{"status":"unhealthy"}` {
			t.Errorf("%q: %d %s", who, w.Code, w.Body)
		}
	}
	for _, who := range []string{"admin", "diagnoses"} {
		if w := get(sick, who); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), canaryWord) || !strings.Contains(w.Body.String(), `"version":"test"`) {
			t.Errorf("%q: %d %s", who, w.Code, w.Body)
		}
	}
	g.down.Store(true)
	if w := get(f, "admin"); w.Code != http.StatusOK || strings.TrimSpace(w.Body.String()) != `{"status":"healthy"}` {
		t.Errorf("while rights can't be asked for: %d %s", w.Code, w.Body)
	}
	if w := askServer(newFixture(t).Server, http.MethodGet, api.Base+"/health", ""); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"version":"test"`) {
		t.Errorf("where nobody is asked who they are: %d %s", w.Code, w.Body)
	}
}
