package server

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// change saves the delivery of the fixture with other words, and wakes the streams.
func (l *liveFixture) change(state delivery.State) {
	l.t.Helper()
	l.make(l.t, func(d *delivery.Delivery) {
		d.State, d.Prompt, d.Answer = state, canaryWord, canaryWord
	})
	l.cfg.Feed.Wake()
}

func TestAStreamTellsOfIncidentsAndDeliveriesToThoseWhoAskForThem(t *testing.T) {
	l := goLive(t)
	all := l.sse("?namespace=shop&kinds=event,incident,delivery")
	only, usual := l.sse("?namespace=shop&kinds=delivery"), l.sse("?namespace=shop")
	for _, c := range []*sseClient{all, only, usual} {
		c.wants("event: ready")
	}
	e := l.happen("shop")
	all.wants("event: event", e.Resource.Name)
	all.wants("event: incident", `"status":"firing"`, e.Resource.Name)
	l.change(delivery.Working)
	frame := strings.Join(all.next(), "\n")
	if !strings.Contains(frame, "event: delivery\n") || !strings.Contains(frame, `"state":"working"`) || !strings.Contains(frame, l.delivery) || strings.Contains(frame, canaryWord) {
		t.Errorf("%s", frame)
	}
	only.wants("event: delivery", `"state":"working"`)
	inc, err := l.store.Incident(t.Context(), e.IncidentID)
	if err != nil {
		t.Fatal(err)
	}
	inc.Resolve(incident.Recovered, time.Now())
	if err := l.store.Write(context.Background(), func(tx *store.Tx) error {
		return tx.Save(context.Background(), &store.Changes{Incidents: []*incident.Incident{inc}})
	}); err != nil {
		t.Fatal(err)
	}
	l.cfg.Feed.Wake()
	resolved := strings.Join(append(all.next(), all.next()...), "\n")
	if !strings.Contains(resolved, "event: incident") || !strings.Contains(resolved, `"resolution":"recovered"`) || !strings.Contains(resolved, "event: event") {
		t.Error(resolved)
	}
	usual.wants("event: event", `"status":"firing"`)
	usual.wants("event: event", `"status":"resolved"`)

	// Who comes back gets what there is by then.
	again := l.sse("?namespace=shop&kinds=incident&after=0")
	again.wants("event: ready")
	again.wants("event: incident")
	l.wrong("?kinds=pod", "kinds")
}

// wrong asks for a stream with parameters that there are not.
func (l *liveFixture) wrong(query, says string) {
	l.t.Helper()
	if w := askServer(l.Server, http.MethodGet, streamPath+query, ""); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), says) {
		l.t.Errorf("%s: %d %s", query, w.Code, w.Body)
	}
}

func TestAWebSocketChangesTheKindsThatItTellsOf(t *testing.T) {
	l := goLive(t)
	c := l.ws("?namespace=shop&kinds=incident", &websocket.DialOptions{})
	c.wants("ready")
	e := l.happen("shop")
	m := c.wants("incident")
	var record api.Incident
	if err := json.Unmarshal(m.Incident, &record); err != nil || record.ID != e.IncidentID || record.Status != "firing" {
		t.Errorf("%+v %v", m, err)
	}
	c.says(`{"type":"filter","namespace":"shop","kinds":["delivery"]}`)
	c.wants("filter")
	l.happen("shop")
	l.change(delivery.Working)
	if m := c.wants("delivery"); !strings.Contains(string(m.Delivery), `"state":"working"`) || strings.Contains(string(m.Delivery), canaryWord) {
		t.Errorf("%s", m.Delivery)
	}
	c.says(`{"type":"filter","kinds":["pods"]}`)
	if m := c.wants("error"); !strings.Contains(m.Reason, "event, incident and delivery") {
		t.Errorf("%+v", m)
	}
}
