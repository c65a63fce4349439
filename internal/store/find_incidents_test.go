package store

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// haystack records open incidents, of which every one in step says "Disk_full 100%" in its message.
func haystack(t *testing.T, st *Store, n, step int) {
	t.Helper()
	must(t, st.WriteRelaxed(t.Context(), func(tx *Tx) error {
		c := &Changes{}
		for i := range n {
			s := observed(fmt.Sprint("hay ", i), long.Add(time.Duration(i)*time.Second))
			s.Resource.Namespace = someNamespaces[i%2]
			s.Message = "Diskxfull 1000"
			if i%step == 0 {
				s.Message = "Disk_full 100%"
			}
			c.Incidents = append(c.Incidents, incident.Open(incident.Origin{}, s))
		}
		return tx.Save(t.Context(), c)
	}))
}

func TestATextIsFoundHoweverManyOthersThereAre(t *testing.T) {
	st := openStore(t, newPath(t))
	n := ScanBound + 700
	haystack(t, st, n, 3000)
	for text, want := range map[string]int{"DISK_FULL 100%": 2, "xfull": n - 2, "no such text": 0} {
		for _, descending := range []bool{false, true} {
			q := IncidentQuery{Text: text, Descending: descending}
			seen, pages, after := map[string]bool{}, 0, []any(nil)
			for more := true; more; {
				found, total, err := st.Reader().ListIncidents(t.Context(), q, Paging{Limit: 1000, After: after, Count: true})
				must(t, err)
				for _, i := range found {
					if !strings.Contains(strings.ToLower(i.Message), strings.ToLower(text)) || seen[i.ID] {
						t.Errorf("%q found %s again, or with %q", text, i.ID, i.Message)
					}
					seen[i.ID] = true
				}
				if pages++; pages > 20 {
					t.Fatal("it never ends")
				}
				if more = total.More; more && after == nil && !total.AtLeast {
					t.Errorf("%q: %+v claims to be all", text, total)
				}
				switch {
				case total.After != nil:
					after = *total.After
				case more:
					after = q.Position(found[len(found)-1])
				}
			}
			if len(seen) != want {
				t.Errorf("%q, descending %t: %d of %d", text, descending, len(seen), want)
			}
		}
	}
	found, total, err := st.Reader().ListIncidents(t.Context(), IncidentQuery{Text: "disk_", Namespace: "infra"}, Paging{Limit: 10, Count: true})
	if must(t, err); len(found) != 0 || total.More || total.AtLeast || total.N != 0 {
		t.Errorf("%d %+v", len(found), total)
	}
}

func TestIncidentsAreFoundByTheAgentThatWasCalled(t *testing.T) {
	st := openStore(t, newPath(t))
	haystack(t, st, 20, 2)
	all, err := st.AllIncidents(t.Context(), 100)
	must(t, err)
	agent := delivery.AgentRef{Namespace: "kagent", Name: "medic"}
	d := &delivery.Delivery{ID: "d", Hook: shopHook, IncidentID: all[3].ID, Agent: agent, State: delivery.Succeeded, EventType: all[3].Type, CreatedAt: long, Prompt: "what was asked"}
	must(t, st.Write(t.Context(), func(tx *Tx) error {
		return tx.Save(t.Context(), &Changes{Deliveries: []*delivery.Delivery{d}, Covers: []DeliveryIncident{{DeliveryID: d.ID, IncidentID: all[7].ID}}})
	}))
	by := func(a delivery.AgentRef) map[string]bool {
		found, _, err := st.Reader().ListIncidents(t.Context(), IncidentQuery{Agent: a}, Paging{Limit: 100, Count: true})
		must(t, err)
		ids := map[string]bool{}
		for _, i := range found {
			ids[i.ID] = true
		}
		return ids
	}
	if diff := cmp.Diff(map[string]bool{all[3].ID: true, all[7].ID: true}, by(agent)); diff != "" {
		t.Error(diff)
	}
	if got := by(delivery.AgentRef{Namespace: "kagent", Name: "other"}); len(got) != 0 {
		t.Errorf("%v", got)
	}
	calls, err := st.Reader().Calls(t.Context(), []string{all[3].ID, all[7].ID, all[9].ID}, 10)
	must(t, err)
	for _, id := range []string{all[7].ID} {
		if len(calls[id]) != 1 || calls[id][0].ID != "d" || calls[id][0].Prompt != "" {
			t.Errorf("%s: %+v", id, calls[id])
		}
	}
	if len(calls[all[9].ID]) != 0 {
		t.Errorf("%v", calls)
	}
}

func TestOpenIncidentsAreGroupedByWorkloadAndType(t *testing.T) {
	st := openStore(t, newPath(t))
	haystack(t, st, 40, 2)
	all, err := st.AllIncidents(t.Context(), 100)
	must(t, err)
	all[0].Resolve(incident.Recovered, long)
	all[2].CausedBy = all[4].ID
	must(t, st.Write(t.Context(), func(tx *Tx) error { return tx.Save(context.Background(), &Changes{Incidents: all[:3]}) }))
	groups, err := st.Reader().IncidentGroups(t.Context(), "", 10)
	must(t, err)
	var open, caused int64
	for i, g := range groups {
		open, caused = open+g.Incidents, caused+g.Caused
		if i > 0 && g.LastSeen > groups[i-1].LastSeen || g.FirstSeen > g.LastSeen || (g.Caused > 0) != (g.CausedBy == all[4].ID) {
			t.Errorf("%+v", g)
		}
	}
	if open != 39 || caused != 1 || len(groups) != 2 {
		t.Errorf("%d in %d groups, %d caused", open, len(groups), caused)
	}
	groups, err = st.Reader().IncidentGroups(t.Context(), "shop", 10)
	if must(t, err); len(groups) != 1 || groups[0].Namespace != "shop" {
		t.Errorf("%+v", groups)
	}
}

// TestWhatIsSearchedIsReadByIndex: as far as the bound, and never a table.
func TestWhatIsSearchedIsReadByIndex(t *testing.T) {
	st := openStore(t, newPath(t))
	agent := delivery.AgentRef{Namespace: "kagent", Name: "medic"}
	for _, q := range []IncidentQuery{{Text: "a"}, {Text: "a", Namespace: "shop"}, {Text: "a", Status: incident.Firing, Namespace: "shop"}, {Agent: agent}, {Agent: agent, Workload: "cart", Descending: true}} {
		l := q.listing(st.engine)
		page, _ := l.page(Paging{Limit: 10})
		end, _ := l.end(nil)
		counting, _ := l.count()
		for _, query := range []string{page, end, counting} {
			for _, step := range planOf(t, st, query) {
				if strings.Contains(step, "TEMP B-TREE") || strings.HasPrefix(step, "SCAN ") && !strings.Contains(step, " INDEX ") && !strings.HasPrefix(step, "SCAN found") && !strings.HasPrefix(step, "SCAN (") && !strings.HasPrefix(step, "SCAN counted") {
					t.Errorf("%+v: %s\n  %s", q, step, query)
				}
			}
		}
	}
}
