package system

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// asking is the scene in which one agent asks a question, one wants an approval, and one works until it is told to stop. A person sees
// to them, over the API, once the Pods are well again.
var asking = &scene{
	name: "asking", pods: map[string]string{"asks1": "asks", "wants1": "wants", "works1": "works"}, agent: (*scenario).asker,
	play: (*scenario).playAsking, people: true, comesTo: sums{6, 6, 3},
	flags: append([]string{"--verify-window", "3s"}, openToPeople...),
}

// openToPeople are settings by which anybody may act, as often as he likes.
var openToPeople = []string{"--api-auth", "none", "--api-rate-limit", "1000", "--api-rate-burst", "1000"}

// asker does as the workload is called.
func (s *scenario) asker(m kagenttest.Message) kagenttest.Act {
	return asWorkload(m, kagenttest.Act{Answer: "done"})
}

func asWorkload(m kagenttest.Message, otherwise kagenttest.Act) kagenttest.Act {
	switch {
	case m.Reply:
		return kagenttest.Act{Answer: "did as told"}
	case strings.Contains(m.Text, "/asks"):
		return kagenttest.Act{Ask: "Which of the two?"}
	case strings.Contains(m.Text, "/wants"):
		return kagenttest.Act{Approve: "delete_pod"}
	case strings.Contains(m.Text, "/works"):
		return kagenttest.Act{Never: true}
	}
	return otherwise
}

func (s *scenario) playAsking() {
	for _, pod := range []string{"asks1", "wants1", "works1"} {
		s.crashes(pod, 1, "OOMKilled")
	}
	s.await("khook knows a task for each workload", s.inHistory(s.taken))
	s.recover()
	s.await("all is well again", s.inHistory(s.well))
	close(s.healed) // and people act
}

// taken says which message no agent has taken as far as khook knows.
func (s *scenario) taken(h *historyText) error {
	for _, d := range h.deliveries {
		if d.TaskID == "" && !notKnown(d) {
			return fmt.Errorf("delivery of %s is %s: %s", d.Group, d.State, d.Error)
		}
	}
	return mustEqual(len(h.deliveries), s.comesTo.deliveries, "deliveries")
}

// person answers each question once and cancels what works for ever, by whichever khook takes it. Who gets no answer tries again; who is told
// that the answer may not have arrived looks again after a while, and answers again what is still asked.
type person struct {
	khooks func() []*process // those that may answer
	ns     string
	client http.Client
	looked time.Time
	told   map[string]time.Time // by question or, of what is to be canceled, by delivery: when khook took it
	again  int                  // questions that were answered more than once
}

func newPerson(ns string, khooks func() []*process) *person {
	return &person{ns: ns, khooks: khooks, told: map[string]time.Time{}, client: http.Client{Timeout: 2 * time.Second}}
}

// asksAgain is how long a person waits for a question to go away that was answered: longer than khook takes to find out that an answer was lost.
const asksAgain = 15 * time.Second

// act looks at what waits, now and then, and does something about it.
func (p *person) act() {
	if time.Since(p.looked) < 100*time.Millisecond {
		return
	}
	p.looked = time.Now()
	for _, khook := range p.khooks() {
		base := "http://" + khook.api + api.Base
		for _, state := range []delivery.State{delivery.InputRequired, delivery.Working} {
			var page api.Page[api.Delivery]
			if p.ask(http.MethodGet, base+"/deliveries?limit=500&namespace="+p.ns+"&state="+string(state), "", &page) != http.StatusOK {
				break
			}
			for i := range page.Items {
				p.see(base, &page.Items[i])
			}
		}
	}
}

func (p *person) see(base string, d *api.Delivery) {
	what, path, body := d.QuestionID, "/reply", `{"questionId":"`+d.QuestionID+`","text":"the first"}`
	switch {
	case d.State == delivery.InputRequired && d.NeedsApproval:
		body = `{"questionId":"` + d.QuestionID + `","decision":"approve"}`
	case d.State == delivery.InputRequired:
	case d.State == delivery.Working && worksForEver(d.Group):
		what, path, body = d.ID, "/cancel", ""
	default:
		return
	}
	at, before := p.told[what]
	if before && (path == "/cancel" || time.Since(at) < asksAgain) {
		return
	}
	code := p.ask(http.MethodPost, base+"/deliveries/"+d.ID+path, body, nil)
	if code == http.StatusAccepted && before {
		p.again++
	}
	if code == http.StatusAccepted || code == http.StatusConflict { // it is taken, or was: its answer may have been lost
		p.told[what] = time.Now()
	}
}

// ask makes a request, and returns its status; 0 if it has no answer.
func (p *person) ask(method, url, body string, into any) int {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return 0
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	if into != nil && json.NewDecoder(resp.Body).Decode(into) != nil {
		return 0
	}
	return resp.StatusCode
}

// repliesOf are the IDs of all replies to the agent of a delivery.
func repliesOf(d *delivery.Delivery) []string {
	var ids []string
	for n := range d.Replies {
		ids = append(ids, incident.DeriveID("reply", d.ID, fmt.Sprint(n+1)))
	}
	return ids
}

// asksAPerson says whether the agent of a group asks something, so that it must get one reply.
func asksAPerson(group string) bool {
	return strings.HasPrefix(group, "Deployment/asks") || strings.HasPrefix(group, "Deployment/wants")
}

func worksForEver(group string) bool { return strings.HasPrefix(group, "Deployment/works") }
