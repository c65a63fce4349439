package server

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
)

// answerTo decodes what somebody is answered.
func answerTo[T any](t *testing.T, f *fixture, who, target string) (answer T) {
	t.Helper()
	w := f.as(who, http.MethodGet, api.Base+target, "")
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%s: %d %.500s", target, w.Code, w.Body)
	}
	return answer
}

func TestIncidentsAreFoundByTextAndByAgent(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Access = people() })
	all := answerTo[api.Page[api.Incident]](t, f, "viewer", "/incidents?namespace=shop").Total
	for query, want := range map[string]int{"text=KILLED": all, "text=cart-3": 1, "text=100%25": 0, "text=_": 0, "agent=kagent/medic": all, "agent=kagent/other": 0, "text=cart-3&agent=kagent/medic": 1} {
		if got := answerTo[api.Page[api.Incident]](t, f, "viewer", "/incidents?namespace=shop&"+query); got.Total != want || len(got.Items) != want || got.TotalIsLowerBound {
			t.Errorf("%s: %d of %d, not %d", query, len(got.Items), got.Total, want)
		}
	}
	first := answerTo[api.Page[api.Incident]](t, f, "viewer", "/incidents?namespace=shop&text=killed&limit=3")
	rest := answerTo[api.Page[api.Incident]](t, f, "viewer", "/incidents?namespace=shop&text=killed&limit=1000&cursor="+first.Next)
	if len(first.Items) != 3 || len(rest.Items) != all-3 || rest.Total != all || rest.Next != "" {
		t.Errorf("%d and %d of %d", len(first.Items), len(rest.Items), rest.Total)
	}
	wantAnswer(t, "a stranger", f.as("elsewhere", http.MethodGet, api.Base+"/incidents?namespace=shop&text=a", ""), http.StatusForbidden, "elsewhere may not")
}

func TestWhatIsOpenIsCountedByWorkloadAndType(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Access = people() })
	groups := answerTo[api.IncidentGroups](t, f, "viewer", "/incidents/groups?namespace=shop")
	open := answerTo[api.Page[api.Incident]](t, f, "viewer", "/incidents?namespace=shop&status=firing").Total
	var sum int64
	for _, g := range groups.Items {
		sum += g.Incidents
		if g.Workload != (api.Workload{Kind: "Deployment", Name: "cart"}) || g.Namespace != shop || g.Events < g.Incidents || g.FirstSeen.After(g.LastSeen) {
			t.Errorf("%+v", g)
		}
	}
	if sum != int64(open) || groups.Incidents != sum || len(groups.Items) != 4 || groups.Truncated {
		t.Errorf("%d of %d in %+v", sum, open, groups)
	}
	wantAnswer(t, "of all namespaces", f.as("viewer", http.MethodGet, api.Base+"/incidents/groups", ""), http.StatusForbidden, "viewer may not")
}

func TestAnIncidentTellsWhatHappenedToItsWorkloadBefore(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Access = people() })
	f.speak(t, delivery.Succeeded)
	f.make(t, func(d *delivery.Delivery) { d.Outcome, d.State = delivery.OutcomeRecovered, delivery.Succeeded })
	list := answerTo[api.Page[api.Incident]](t, f, "viewer", "/incidents?namespace=shop&limit=1000")
	told := 0
	for i := range list.Items {
		inc := &list.Items[i]
		w := f.as("viewer", http.MethodGet, api.Base+"/incidents/"+inc.ID+"/earlier", "")
		if hasTexts(w.Body.String()) {
			t.Errorf("it tells what was said: %s", w.Body)
		}
		for _, before := range answerTo[api.EarlierIncidents](t, f, "viewer", "/incidents/"+inc.ID+"/earlier").Items {
			told++
			if !before.FirstSeen.Before(inc.FirstSeen) || before.EventType != inc.EventType || before.Workload != inc.Workload {
				t.Errorf("%+v is not before %+v", before, inc)
			}
			if before.ID == f.incident && (len(before.Deliveries) == 0 || !strings.Contains(w.Body.String(), `"outcome":"recovered"`)) {
				t.Errorf("it does not say what came of the call: %s", w.Body)
			}
		}
	}
	if told == 0 {
		t.Error("there is nothing before any")
	}
	for _, who := range []string{"stranger", "elsewhere", "texts only"} {
		wantAnswer(t, who, f.as(who, http.MethodGet, api.Base+"/incidents/"+f.incident+"/earlier", ""), http.StatusNotFound, "not-found")
	}
	wantAnswer(t, "an ID that there is not", f.as("viewer", http.MethodGet, api.Base+"/incidents/none/earlier", ""), http.StatusNotFound, "not-found")
}
