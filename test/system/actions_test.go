package system

import (
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// staffed is a khook whose agents do what the name of the workload says: ask, approve, work or done.
type staffed struct {
	*testing.T
	khook     *process
	kagent    *kagenttest.Server
	ns        string
	args      []string
	responder caller // may read and do everything with deliveries in ns
}

// staff are agents that do what the name of the workload says.
func staff(t *testing.T) *kagenttest.Server {
	t.Helper()
	return kagenttest.New(t, kagenttest.Options{Cancels: true, Script: func(m kagenttest.Message) kagenttest.Act {
		switch {
		case m.Reply:
			return kagenttest.Act{Answer: "told: " + m.Text + string(m.Data)}
		case strings.Contains(string(m.Data), `"retryOf"`):
			return kagenttest.Act{Answer: "once more"}
		case strings.Contains(m.Text, "ask-1"), strings.Contains(m.Text, "ask-again-1"):
			return kagenttest.Act{Ask: "May I \x1b[31mdelete\x1b[0m the <b>Pod</b>?"}
		case strings.Contains(m.Text, "approve-1"):
			return kagenttest.Act{Approve: "delete_pod"}
		case strings.Contains(m.Text, "work-1"):
			return kagenttest.Act{Never: true}
		}
		return kagenttest.Act{Answer: "done"}
	}})
}

func newStaffed(t *testing.T, flags ...string) *staffed {
	t.Helper()
	s := &staffed{T: t, ns: namespace(t)}
	s.kagent = staff(t)
	applyHook(t, s.ns, "shop", incident.OOMKill)
	s.args = append(settings(s.kagent, t.TempDir()), "--stabilization=1h", "--api-rate-limit=1000", "--api-rate-burst=1000")
	s.args = append(s.args, flags...)
	token := s.account("ann", grant("hooks", []string{"list"}), grant("hooks/deliveries", []string{"get", "update", "approve"}))
	s.start()
	s.responder.token = token
	return s
}

func (s *staffed) start() {
	s.Helper()
	s.khook = controller(s, s.args...).ready()
	s.responder.t, s.responder.base = s, "http://"+s.khook.api+api.Base
}

// account is a token of an account that may do some things in the namespace.
func (s *staffed) account(name string, rules ...rbacv1.PolicyRule) string {
	s.Helper()
	token := serviceAccount(s, s.ns, name)
	meta := metav1.ObjectMeta{Namespace: s.ns, Name: name}
	for _, err := range []error{
		testCluster.client.Create(s.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: rules}),
		testCluster.client.Create(s.Context(), &rbacv1.RoleBinding{ObjectMeta: meta, Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: s.ns, Name: name}},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name}}),
	} {
		if err != nil {
			s.Fatal(err)
		}
	}
	return token
}

// fail lets the Pod of a workload fail, and returns its delivery once that is in a state.
func (s *staffed) fail(workload string, state delivery.State) api.DeliveryDetail {
	s.Helper()
	crashLoops(s, newPod(s, s.ns, workload, workload+"-1"), 1, "OOMKilled")
	var id string
	eventually(s, workload+" is delivered", func() error {
		for _, d := range read[api.Page[api.Delivery]](s.responder, "/deliveries?namespace="+s.ns).Items {
			if d.Group == "Deployment/"+workload {
				id = d.ID
				return nil
			}
		}
		return fmt.Errorf("there is no delivery")
	})
	return s.until(id, state)
}

func (s *staffed) now(id string) api.DeliveryDetail {
	s.Helper()
	return read[api.DeliveryDetail](s.responder, "/deliveries/"+id)
}

func (s *staffed) until(id string, state delivery.State) (d api.DeliveryDetail) {
	s.Helper()
	eventually(s, "the delivery is "+string(state), func() error {
		if d = s.now(id); d.State != state {
			return fmt.Errorf("it is %s: %s", d.State, d.Error)
		}
		return nil
	})
	return d
}

func (s *staffed) cli(code int, args ...string) string {
	s.Helper()
	got, out, errs := runCLI(s.T, append(args, "--server", "http://"+s.khook.api, "--token", s.responder.token)...)
	if got != code {
		s.Fatalf("%v: exit code %d, want %d: %s%s", args, got, code, out, errs)
	}
	return out + errs
}

// wantParts checks that a text tells all parts, in order.
func wantParts(t testing.TB, text string, parts ...string) {
	t.Helper()
	rest := text
	for _, p := range parts {
		_, after, found := strings.Cut(rest, p)
		if !found {
			t.Fatalf("it does not tell %q at its place:\n%s", p, text)
		}
		rest = after
	}
}

func TestPeopleActOnDeliveries(t *testing.T) {
	s := newStaffed(t)
	ann := "system:serviceaccount:" + s.ns + ":ann"
	var asked string
	t.Run("a question is answered over the API", func(t *testing.T) {
		d := s.fail("ask", delivery.InputRequired)
		asked = d.ID
		s.responder.do(http.MethodPost, "/deliveries/"+d.ID+"/reply", `{"text": "a", "questionId": "another"}`, "Content-Type: application/json").
			problem(t, http.StatusConflict, "asks something else by now")
		s.responder.do(http.MethodPost, "/deliveries/"+d.ID+"/reply", `{"text": " "}`, "Content-Type: application/json").problem(t, http.StatusBadRequest, "the reply is empty")
		s.responder.do(http.MethodPost, "/deliveries/"+d.ID+"/reply", `text=yes`, "Content-Type: text/plain").problem(t, http.StatusUnsupportedMediaType)
		s.responder.do(http.MethodPost, "/deliveries/"+d.ID+"/reply", `{"text": "`+strings.Repeat("x", delivery.MaxReply+1)+`"}`, "Content-Type: application/json").problem(t, http.StatusBadRequest)
		s.responder.post("/deliveries/"+d.ID+"/reply", `{"text": "yes", "questionId": "`+d.QuestionID+`"}`, http.StatusAccepted)
		s.khook.kill() // nothing of it is lost
		s.start()
		d = s.until(d.ID, delivery.Succeeded)
		if d.Answer != "told: yes" || d.Replies != 1 {
			t.Errorf("answer %q, %d replies", d.Answer, d.Replies)
		}
		shown := s.cli(0, "deliveries", "show", d.ID)
		wantParts(t, shown, "Answer:", "told: yes", "was first seen", "call to kagent/medic about Deployment/ask", "called ", "taken ", "finished ",
			"the agent asks: May I [31mdelete[0m the <b>Pod</b>?", ann+" replies: yes", ann+" the agent has the reply")
		if n := strings.Count(shown, "told: yes"); n != 1 {
			t.Errorf("the answer is told %d times:\n%s", n, shown)
		}
	})
	t.Run("an approval is decided over the CLI", func(t *testing.T) {
		d := s.fail("approve", delivery.InputRequired)
		shown := s.cli(0, "deliveries", d.ID)
		command := regexp.MustCompile(`khook (deliveries reply \S+ --question \S+ --approve)`).FindStringSubmatch(shown)
		if command == nil {
			t.Fatalf("no command is shown:\n%s", shown)
		}
		s.cli(1, "deliveries", "reply", d.ID, "just a text")
		wantParts(t, s.cli(1, "deliveries", "reply", d.ID, "--approve"), "The agent asks:", "delete_pod", "must name the question that you read", command[1])
		wantParts(t, s.cli(1, "deliveries", "reply", d.ID, "--approve", "--question", "another"), "asks something else by now")
		s.cli(0, strings.Fields(strings.ReplaceAll(command[1], "'", ""))...)
		if d = s.until(d.ID, delivery.Succeeded); !strings.Contains(d.Answer, `"decision_type":"approve"`) {
			t.Errorf("answer %q", d.Answer)
		}
		wantParts(t, s.cli(1, "deliveries", "reply", d.ID, "too late"), "the agent does not ask anything: the delivery is succeeded")
	})
	t.Run("who may not read what is asked is told so", func(t *testing.T) {
		token := s.account("watches", grant("hooks", []string{"list"}))
		code, out, errs := runCLI(t, "deliveries", "show", asked, "--server", "http://"+s.khook.api, "--token", token)
		if code != 0 || strings.Contains(out, "delete") || strings.Contains(out, "told: yes") {
			t.Errorf("%d %s%s", code, out, errs)
		}
		wantParts(t, out, "State:", "succeeded", "The texts of delivery "+asked+" are withheld:", "the verb get on hooks/deliveries", ann+" replies")
	})
	t.Run("a call is canceled", func(t *testing.T) {
		d := s.fail("work", delivery.Working)
		wantParts(t, s.cli(1, "deliveries", "retry", d.ID), "the delivery is working: cancel it first")
		s.cli(0, "deliveries", "cancel", d.ID)
		s.until(d.ID, delivery.Canceled)
		if n := len(s.kagent.Requests(kagenttest.Cancel)); n != 1 {
			t.Errorf("the agent was told %d times to stop", n)
		}
		wantParts(t, s.cli(0, "deliveries", "list", "--state", "canceled", "-n", s.ns), "deploy/work")
	})
	t.Run("a call is made again", func(t *testing.T) {
		d := s.fail("done", delivery.Succeeded)
		r := s.responder.post("/deliveries/"+d.ID+"/retry", "", http.StatusCreated)
		location := strings.TrimPrefix(r.header.Get("Location"), api.Base)
		again := s.until(strings.TrimPrefix(location, "/deliveries/"), delivery.Succeeded)
		if again.Answer != "once more" || again.RetryOf != d.ID || again.RequestedBy != ann {
			t.Errorf("answer %q, repeats %q, wanted by %q", again.Answer, again.RetryOf, again.RequestedBy)
		}
		s.responder.do(http.MethodPost, "/deliveries/"+d.ID+"/retry", "").problem(t, http.StatusConflict, "tried again already, as delivery "+again.ID)
		wantParts(t, s.cli(0, "deliveries", "resume", d.ID), "calls about Deployment/done for the Hook "+s.ns+"/shop go through again")
	})
	t.Run("only by who may", func(t *testing.T) {
		d := s.fail("any", delivery.Succeeded)
		const id, decide = "/deliveries/", `{"decision": "approve", "questionId": "q"}`
		list := grant("hooks", []string{"list"})
		on := func(verb string, hooks ...string) rbacv1.PolicyRule {
			return grant("hooks/deliveries", []string{verb}, hooks...)
		}
		for name, tc := range map[string]struct {
			token                string
			read, cancel, decide int
			texts                bool
		}{
			"nobody":            {"", 401, 401, 401, false},
			"a stranger":        {s.account("stranger"), 404, 404, 404, false},
			"another place":     {newStaffedElsewhere(s), 404, 404, 404, false},
			"lists only":        {s.account("lists", list), 200, 403, 403, false},
			"edits Hooks":       {s.account("edits", grant("hooks", []string{"get", "list", "watch", "create", "update", "patch", "delete"})), 200, 403, 403, false},
			"reads":             {s.account("reads", list, on("get")), 200, 403, 403, true},
			"reads this Hook":   {s.account("reads-this", list, on("get", "shop")), 200, 403, 403, true},
			"reads another":     {s.account("reads-other", list, on("get", "another")), 200, 403, 403, false},
			"responds":          {s.account("responds", list, on("update")), 200, 409, 403, false},
			"just this Hook":    {s.account("this", on("update", "shop")), 404, 409, 404, false},
			"just another Hook": {s.account("other", on("update", "another")), 404, 404, 404, false},
			"approves":          {s.account("approves", list, on("approve")), 200, 403, 409, false},
			"does it all":       {s.responder.token, 200, 409, 409, true},
		} {
			c := s.responder
			c.token = tc.token
			story := c.get(id + d.ID)
			if story.code != tc.read || tc.read == http.StatusOK && tc.texts == strings.Contains(story.body, "textsWithheld") || strings.Contains(story.body, `"prompt"`) != tc.texts {
				t.Errorf("%s reads: %d, want %d and texts %t: %s", name, story.code, tc.read, tc.texts, story.body)
			}
			if r := c.do(http.MethodPost, id+d.ID+"/cancel", ""); r.code != tc.cancel {
				t.Errorf("%s cancels: %d, want %d: %s", name, r.code, tc.cancel, r.body)
			}
			if r := c.do(http.MethodPost, id+d.ID+"/reply", decide, "Content-Type: application/json"); r.code != tc.decide {
				t.Errorf("%s decides: %d, want %d: %s", name, r.code, tc.decide, r.body)
			}
		}
		s.responder.do(http.MethodPost, "/deliveries/none/cancel", "").problem(t, http.StatusNotFound)
		s.responder.do(http.MethodGet, "/deliveries/"+d.ID+"/cancel", "").problem(t, http.StatusMethodNotAllowed)
	})
}

// newStaffedElsewhere is a token of an account that may do everything in another namespace.
func newStaffedElsewhere(s *staffed) string {
	other := &staffed{T: s.T, ns: namespace(s.T)}
	return other.account("ann", grant("hooks", []string{"list", "update"}), grant("hooks/deliveries", []string{"get", "update", "approve"}))
}

func TestPagesOfOtherSitesCannotActWithoutAuthentication(t *testing.T) {
	kagent := kagenttest.New(t, kagenttest.Options{})
	ns := namespace(t)
	applyHook(t, ns, "shop", incident.OOMKill)
	p := controller(t, append(settings(kagent, t.TempDir()), "--api-auth=none", "--api-rate-limit=1000", "--api-rate-burst=1000")...).ready()
	c := caller{t, "http://" + p.api + api.Base, ""}
	crashLoops(t, newPod(t, ns, "cart", "cart-1"), 1, "OOMKilled")
	var id string
	eventually(t, "it is delivered", func() error {
		done := read[api.Page[api.Delivery]](c, "/deliveries?state=succeeded&namespace="+ns).Items
		if len(done) != 1 {
			return fmt.Errorf("%d deliveries", len(done))
		}
		id = done[0].ID
		return nil
	})
	for name, header := range map[string]string{
		"another origin": "Origin: http://evil.example", "a page of another site": "Sec-Fetch-Site: cross-site",
	} {
		if r := c.do(http.MethodPost, "/deliveries/"+id+"/retry", "", header); r.code != http.StatusForbidden {
			t.Errorf("%s: %d %s", name, r.code, r.body)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.base+"/deliveries/"+id+"/retry", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "evil.example:8082"
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body.Close(); resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("a name of the network that stands for this machine: %d", resp.StatusCode)
	}
	c.post("/deliveries/"+id+"/retry", "", http.StatusCreated)
	if all := readDeliveries(t, filepath.Join(filepath.Dir(historyOf(p)), "khook.db")); len(all) != 2 {
		t.Errorf("%d deliveries", len(all))
	}
}
