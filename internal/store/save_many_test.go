package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// TestWhatIsSavedTogetherIsAsIfItWereSavedOneByOne: ends of incidents, calls that are skipped, with their counters, and logs.
func TestWhatIsSavedTogetherIsAsIfItWereSavedOneByOne(t *testing.T) {
	skips := []delivery.Skip{delivery.SkipRecovered, delivery.SkipSuspended, delivery.SkipForbidden, delivery.SkipRecovered, delivery.SkipRecovered, ""}
	saved := func(together bool) (tables map[string][]string) {
		st := openStore(t, newPath(t))
		var incidents []*incident.Incident
		var deliveries []*delivery.Delivery
		for n := range 24 {
			must(t, st.Write(t.Context(), func(tx *Tx) error {
				inc, c := recordFor(tx, fmt.Sprintf("k%02d", n), long.Add(time.Duration(n%3)*time.Second), 1+n%2)
				d := due(inc, delivery.Pending)
				c.Deliveries = []*delivery.Delivery{d}
				for i, e := range c.Events {
					if i == 0 {
						c.Decisions = append(c.Decisions, delivery.Decision{EventID: e.ID, IncidentID: inc.ID, Hook: shopHook, HookUID: "u", Config: "pod-restart", Disposition: delivery.Delivered, DeliveryID: d.ID, At: long.Add(time.Duration(n%3) * time.Minute)})
					}
				}
				incidents, deliveries = append(incidents, inc), append(deliveries, d)
				return tx.Save(t.Context(), c)
			}))
		}
		_, err := st.conn.ExecContext(t.Context(), fmt.Sprint("DELETE FROM hook_counts WHERE span = 1 AND start = ", minute(long))) // as when they are old
		must(t, err)
		all := &Changes{}
		add := func(c *Changes) {
			if !together {
				must(t, saveChanges(t, st, c))
			}
			all.Incidents, all.Deliveries = append(all.Incidents, c.Incidents...), append(all.Deliveries, c.Deliveries...)
			all.Entries = append(all.Entries, c.Entries...)
		}
		for n, inc := range incidents {
			d := deliveries[n]
			if d.Skipped = skips[n%len(skips)]; d.Skipped != "" {
				d.State, d.EndedAt = delivery.Canceled, long
			}
			if n%4 == 0 {
				inc.Resolve(incident.Recovered, long.Add(time.Hour))
			}
			add(&Changes{Incidents: []*incident.Incident{inc}, Deliveries: []*delivery.Delivery{d}})
			for i := range 5 {
				add(&Changes{Entries: []delivery.Entry{{DeliveryID: d.ID, Source: fmt.Sprint("message ", i%3), At: long, Kind: delivery.EntryMessage, Text: fmt.Sprint(i)}}})
				add(&Changes{Entries: []delivery.Entry{{DeliveryID: d.ID, At: long, Kind: delivery.EntryPerson, Text: fmt.Sprint(i)}}})
			}
		}
		if together {
			must(t, saveChanges(t, st, all))
		}
		tables = map[string][]string{}
		for table, columns := range map[string]string{
			"events":       "id || ' ' || status",
			"decisions":    "event_id || ' ' || disposition || ' ' || delivery_id",
			"event_counts": "span || ' ' || start || ' ' || namespace || ' ' || type || ' ' || status || ' ' || n",
			"hook_counts":  "span || ' ' || start || ' ' || name || ' ' || n",
			"delivery_log": "delivery_id || ' ' || n || ' ' || source || ' ' || text",
		} {
			tables[table] = texts(t, st.core.db, "SELECT "+columns+" FROM "+table+" WHERE "+map[bool]string{true: "n <> 0", false: "1 = 1"}[table == "hook_counts"]+" ORDER BY 1")
		}
		return tables
	}
	one, many := saved(false), saved(true)
	if diff := cmp.Diff(one, many); diff != "" {
		t.Error(diff)
	}
	if len(one["hook_counts"]) < 6 || len(one["delivery_log"]) != 24*8 {
		t.Errorf("it is about little: %v, %d entries", one["hook_counts"], len(one["delivery_log"]))
	}
}
