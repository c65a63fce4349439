package cli

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// history is a server with incidents and deliveries, of which it finds and tells those that it is asked for, as khook does.
func history(t *testing.T) (url string, asked *[]string) {
	t.Helper()
	asked = &[]string{}
	incidentOf := func(id, namespace, kind, workload, pod string) api.Incident {
		return api.Incident{ID: id, Status: "firing", Subject: api.Subject{EventType: api.EventType(incident.OOMKill), Namespace: namespace, ResourceName: pod, Workload: api.Workload{Kind: kind, Name: workload}}}
	}
	incidents := []api.Incident{ // the newest first
		incidentOf("6aa12b53-7f03-5f1b-8118-075e1fe1a03b", "shop", "Deployment", "cart", "cart-1"),
		incidentOf("6aa12b99-0000-5f1b-8118-075e1fe1a03b", "shop", "Deployment", "cart", "cart-0"),
		incidentOf("7bb12b53-7f03-5f1b-8118-075e1fe1a03b", "shop", "StatefulSet", "db", "db-0"),
		incidentOf("8cc12b53-7f03-5f1b-8118-075e1fe1a03b", "pay", "StatefulSet", "db", "db-0"),
	}
	var deliveries []api.Delivery
	for _, i := range incidents {
		deliveries = append(deliveries, api.Delivery{ID: i.ID, State: delivery.Failed, IncidentID: i.ID, Hook: api.Name{Namespace: i.Namespace, Name: "memory"}, Agent: api.Name{Namespace: "kagent", Name: "medic"}, Group: "Deployment/cart"})
	}
	return answers(t, func(r *http.Request) any {
		*asked = append(*asked, r.Method+" "+strings.TrimPrefix(r.URL.RequestURI(), api.Base))
		q := r.URL.Query()
		fits := func(i *api.Incident) bool {
			return strings.HasPrefix(i.ID, q.Get("idPrefix")) && (q.Get("namespace") == "" || q.Get("namespace") == i.Namespace) &&
				(q.Get("workload") == "" || q.Get("workload") == i.Workload.Name) && (q.Get("resourceName") == "" || q.Get("resourceName") == i.ResourceName)
		}
		page, calls := api.Page[api.Incident]{}, api.Page[api.Delivery]{}
		for n := range incidents {
			if i := incidents[n]; fits(&i) {
				page.Items, calls.Items = append(page.Items, i), append(calls.Items, deliveries[n])
			}
			if strings.HasSuffix(r.URL.Path, "/incidents/"+incidents[n].ID) {
				return api.IncidentDetail{Incident: incidents[n]}
			}
			if strings.Contains(r.URL.Path, "/deliveries/"+incidents[n].ID) {
				return api.DeliveryDetail{Delivery: deliveries[n]}
			}
		}
		switch {
		case strings.HasSuffix(r.URL.Path, "/deliveries"):
			return calls
		case strings.HasSuffix(r.URL.Path, "/hooks"):
			return api.Page[api.Hook]{Items: []api.Hook{
				{Namespace: "pay", Name: "till", Agents: []string{"kagent/medic"}}, {Namespace: "shop", Name: "memory", Agents: []string{"kagent/medic"}}, {Namespace: "shop", Name: "pods", Agents: []string{"ops/surgeon"}},
			}}
		case strings.HasSuffix(r.URL.Path, "/inbox"):
			return api.Inbox{Items: []api.InboxItem{{QuestionID: "91b7f3a2-0000", DeliveryID: anID}, {DeliveryID: anID}}}
		}
		return page
	}), asked
}

func TestCLITakesTheBeginningOfAnID(t *testing.T) {
	for command, want := range map[string]string{
		"incidents 7bb12b":                         "GET /incidents/7bb12b53-7f03-5f1b-8118-075e1fe1a03b",
		"incidents show 7BB12B53-7f":               "GET /incidents/7bb12b53-7f03-5f1b-8118-075e1fe1a03b",
		"incident describe incident/7bb12b":        "GET /incidents/7bb12b53-7f03-5f1b-8118-075e1fe1a03b",
		"incidents show deploy/cart":               "GET /incidents/6aa12b53-7f03-5f1b-8118-075e1fe1a03b",
		"incidents show sts/db -n pay":             "GET /incidents/8cc12b53-7f03-5f1b-8118-075e1fe1a03b",
		"incidents pod/cart-0":                     "GET /incidents/6aa12b99-0000-5f1b-8118-075e1fe1a03b",
		"incidents show --last":                    "GET /incidents/6aa12b53-7f03-5f1b-8118-075e1fe1a03b",
		"incidents --last --workload db -n pay":    "GET /incidents/8cc12b53-7f03-5f1b-8118-075e1fe1a03b",
		"deliveries show 7bb12b":                   "GET /deliveries/7bb12b53-7f03-5f1b-8118-075e1fe1a03b",
		"deliveries show delivery/8cc12b -n pay":   "GET /deliveries/8cc12b53-7f03-5f1b-8118-075e1fe1a03b",
		"deliveries --last -n pay":                 "GET /deliveries/8cc12b53-7f03-5f1b-8118-075e1fe1a03b",
		"deliveries cancel 7bb12b":                 "POST /deliveries/7bb12b53-7f03-5f1b-8118-075e1fe1a03b/cancel",
		"deliveries retry 7bb12b53":                "POST /deliveries/7bb12b53-7f03-5f1b-8118-075e1fe1a03b/retry",
		"deliveries resume 7bb12b":                 "POST /deliveries/7bb12b53-7f03-5f1b-8118-075e1fe1a03b/resume",
		"deliveries reply 7bb12b --question q yes": "POST /deliveries/7bb12b53-7f03-5f1b-8118-075e1fe1a03b/reply",
		"deliveries --incident 7bb12b":             "GET /deliveries?incident=7bb12b53-7f03-5f1b-8118-075e1fe1a03b&limit=50&sort=-createdAt",
		"why 7bb12b":                               "GET /why?incident=7bb12b53-7f03-5f1b-8118-075e1fe1a03b",
		"why sts/db -n pay":                        "GET /why?incident=8cc12b53-7f03-5f1b-8118-075e1fe1a03b&namespace=pay",
		"why --last --hook shop/memory":            "GET /hooks/shop/memory/why?incident=6aa12b53-7f03-5f1b-8118-075e1fe1a03b",
		"why facade-0 -n shop":                     "GET /why?namespace=shop&pod=facade-0", // which has an ID's letters only
	} {
		url, asked := history(t)
		code, _, errs := khook(t, append(strings.Fields(command), "--server", url)...)
		if got := (*asked)[max(0, len(*asked)-1)]; code != 0 || got != want {
			t.Errorf("%s: %d %s\n asked %s\n want  %s", command, code, errs, got, want)
		}
	}
}

func TestCLISaysWhichIDsMayBeMeant(t *testing.T) {
	usage := []string{"incidents 6aa12", "incidents cart-1", "deliveries show deploy/cart", "deliveries show incident/7bb12b", "incidents show", "incidents show 7bb12b --last"}
	for command, want := range map[string]string{
		"incidents 6aa12b": "khook: 2 incidents begin with 6aa12b: name more of the ID\n" +
			"  6aa12b53-7f03-5f1b-8118-075e1fe1a03b   -   oom-kill   firing   shop   cart-1   0   0s   -\n" +
			"  6aa12b99-0000-5f1b-8118-075e1fe1a03b   -   oom-kill   firing   shop   cart-0   0   0s   -\n",
		"deliveries cancel 6aa12b": "khook: 2 deliveries begin with 6aa12b: name more of the ID\n" +
			"  6aa12b53-7f03-5f1b-8118-075e1fe1a03b   -   failed   -   shop   memory   -   kagent/medic   deploy/cart\n" +
			"  6aa12b99-0000-5f1b-8118-075e1fe1a03b   -   failed   -   shop   memory   -   kagent/medic   deploy/cart\n",
		"incidents sts/db": "khook: StatefulSet/db is in 2 namespaces: name one with -n\n" +
			"  7bb12b53-7f03-5f1b-8118-075e1fe1a03b   -   oom-kill   firing   shop   db-0   0   0s   -\n" +
			"  8cc12b53-7f03-5f1b-8118-075e1fe1a03b   -   oom-kill   firing   pay    db-0   0   0s   -\n",
		"incidents 123456":                 "khook: no incident has an ID that begins with 123456: khook incidents lists them\n",
		"incidents 6aa12":                  "khook: \"6aa12\" is too short: name the incident by the first 6 characters of its ID or more\n",
		"incidents cart-1":                 "khook: \"cart-1\" names no incident: take an ID, or KIND/NAME such as deploy/cart from khook incidents\n",
		"deliveries show deploy/cart":      "khook: \"deploy/cart\" names no delivery: take an ID from khook deliveries\n",
		"deliveries show incident/7bb12b":  "khook: \"incident/7bb12b\" names no delivery: take an ID from khook deliveries\n",
		"incidents show deploy/db -n shop": "khook: there is no incident of Deployment/db in namespace shop\n",
		"incidents --last -n nowhere":      "khook: there is no incident that is asked for\n",
		"incidents show":                   "khook: which incident? Give an ID, as khook incidents has it in the first column, its first 6 characters or more, or --last\n",
		"incidents show 7bb12b --last":     "khook: --last is the newest of the incidents: leave it out, or the ID\n",
	} {
		url, asked := history(t)
		code, out, errs := khook(t, append(strings.Fields(command), "--server", url)...)
		wantCode := 1
		if slices.Contains(usage, command) {
			wantCode = 2
		}
		if code != wantCode || out != "" || errs != want || strings.Contains(fmt.Sprint(*asked), "POST") {
			t.Errorf("%s: %d %s\n got %s\nwant %s", command, code, out, errs, want)
		}
	}
}

func TestCLIShowsIDsThatItTakes(t *testing.T) {
	url, _ := history(t)
	for _, things := range []string{"incidents", "deliveries"} {
		_, out, _ := khook(t, things, "--server", url, "-n", "pay")
		first := strings.Fields(strings.Split(out, "\n")[1])[0]
		if first != "8cc12b53" {
			t.Errorf("%s begin with %s", things, out)
		}
		if code, _, errs := khook(t, things, first, "--server", url); code != 0 {
			t.Errorf("%s %s: %s", things, first, errs)
		}
		if _, out, _ := khook(t, things, "--server", url, "-n", "pay", "-o", "wide"); !strings.Contains(out, "\n8cc12b53-7f03-5f1b-8118-075e1fe1a03b ") {
			t.Errorf("%s -o wide: %s", things, out)
		}
		_, name, _ := khook(t, things, "--server", url, "-n", "pay", "-o", "name")
		if code, again, errs := khook(t, things, "show", strings.TrimSpace(name), "--server", url, "-o", "name"); code != 0 || again != name || !strings.HasSuffix(name, "/8cc12b53-7f03-5f1b-8118-075e1fe1a03b\n") {
			t.Errorf("%s -o name: %q, and of it %q %s", things, name, again, errs)
		}
	}
}
