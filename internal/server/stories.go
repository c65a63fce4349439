package server

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/kagent-dev/khook/internal/access"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/notice"
	"github.com/kagent-dev/khook/internal/store"
)

// IDFilter restricts a list to what an ID, or its beginning, stands for.
type IDFilter struct {
	IDPrefix string `query:"idPrefix" minLength:"6" maxLength:"36" pattern:"^[0-9a-f-]+$" patternDescription:"the first characters of an ID (0-9, a-f and -)" doc:"Only those whose ID begins so." example:"6aa12b53"`
}

type incidentsInput struct {
	ClusterFilter
	IDFilter
	NamespaceFilter
	TypeFilter
	ResourceName string `query:"resourceName" maxLength:"253" doc:"Name of the Kubernetes resource." example:"cart-7d4b9c-x2x9k"`
	Workload     string `query:"workload" maxLength:"253" doc:"Name of the controller that owns the resource." example:"cart"`
	Status       string `query:"status" enum:"firing,resolved" doc:"firing while it is open." example:"resolved"`
	Text         string `query:"text" maxLength:"200" doc:"What the name of the resource, the workload, the reason, the message or the node has in it; letters A to Z in either case. 5,000 incidents of those that the other parameters select are looked through for a page: a page with a cursor may be short, or empty, and the next one goes on." example:"killed"`
	Agent        string `query:"agent" maxLength:"317" doc:"Only those about which this agent was called, as namespace/name; looked for as text is." example:"kagent/medic"`
	Window
	Sort string `query:"sort" enum:"firstSeen,-firstSeen" default:"-firstSeen" doc:"The order; - for descending."`
	Paging
}

type deliveriesInput struct {
	ClusterFilter
	IDFilter
	NamespaceFilter
	Hook  string `query:"hook" maxLength:"253" doc:"Name of the Hook." example:"memory"`
	State string `query:"state" enum:"pending,calling,working,input-required,succeeded,failed,rejected,canceled,expired" example:"succeeded"`
	TypeFilter
	Stalled  bool   `query:"stalled" doc:"Only those whose task is stalled: nothing new was seen of it for long."`
	Agent    string `query:"agent" maxLength:"317" doc:"The agent, as namespace/name." example:"kagent/medic"`
	Incident string `query:"incident" maxLength:"64" doc:"ID of the incident that it was scheduled for."`
	Window
	Sort string `query:"sort" enum:"createdAt,-createdAt" default:"-createdAt" doc:"The order; - for descending."`
	Paging
}

// StoryPath names an incident or a delivery.
type StoryPath struct {
	ID string `path:"id" maxLength:"64" doc:"The ID, as the lists have it."`
}

const textsDoc = "What was asked and said (prompt, data, answer, question, replies, the log's texts) is for those with the verb get on hooks/deliveries; " +
	"for others textsWithheld stands in its place. An ID of a namespace whose Hooks the caller may not list is not found."

func (s *Server) registerStories() {
	s.registerFound()
	getRoute(s, "listIncidents", "/incidents", tagStory, "List incidents", "startTime and endTime are about when it was first seen.", s.listIncidents)
	getRoute(s, "getIncident", "/incidents/{id}", tagStory, "Tell an incident's story",
		"Its events, what the Hooks decided about them, the calls with prompt, answer and outcome, and how it ended, as one timeline. "+textsDoc, s.incident, with404)
	getRoute(s, "listDeliveries", "/deliveries", tagStory, "List deliveries", "The calls to agents, without what was asked and said. startTime and endTime are about when it was scheduled; namespace is the Hook's.", s.listDeliveries)
	getRoute(s, "getDelivery", "/deliveries/{id}", tagStory, "Tell a delivery's story", "With prompt, data, answer and outcome, the incidents that it covers, its log, and its timeline. "+textsDoc, s.delivery, with404)
}

func (s *Server) listIncidents(ctx context.Context, in *incidentsInput) (api.Page[api.Incident], error) {
	return listPage(ctx, s, listing[store.IncidentQuery, incident.Incident, api.Incident]{
		clusters: in.ClusterFilter, namespace: in.Namespace, window: in.Window, paging: in.Paging,
		query: func() (store.IncidentQuery, error) {
			agent, err := agentOf(in.Agent)
			return store.IncidentQuery{
				IDPrefix: in.IDPrefix, Namespace: in.Namespace, Type: incident.EventType(in.EventType), Status: incident.Status(in.Status), Name: in.ResourceName,
				Workload: in.Workload, Text: in.Text, Agent: agent, From: in.StartTime.bound(), To: in.EndTime.bound(), Descending: strings.HasPrefix(in.Sort, "-"),
			}, err
		},
		rows: (*store.Reader).ListIncidents, position: store.IncidentQuery.Position, falling: func(q store.IncidentQuery) bool { return q.Descending },
		shape: api.IncidentOf,
	})
}

func (s *Server) listDeliveries(ctx context.Context, in *deliveriesInput) (api.Page[api.Delivery], error) {
	return listPage(ctx, s, listing[store.DeliveryQuery, delivery.Delivery, api.Delivery]{
		clusters: in.ClusterFilter, namespace: in.Namespace, window: in.Window, paging: in.Paging,
		query: func() (store.DeliveryQuery, error) {
			agent, err := agentOf(in.Agent)
			return store.DeliveryQuery{
				IDPrefix: in.IDPrefix, Namespace: in.Namespace, Hook: in.Hook, State: delivery.State(in.State), Type: incident.EventType(in.EventType), Agent: agent,
				Incident: in.Incident, Stalled: in.Stalled, From: in.StartTime.bound(), To: in.EndTime.bound(), Descending: strings.HasPrefix(in.Sort, "-"),
			}, err
		},
		rows: (*store.Reader).ListDeliveries, position: store.DeliveryQuery.Position, falling: func(q store.DeliveryQuery) bool { return q.Descending },
		shape: func(d *delivery.Delivery, _ time.Time) api.Delivery { return api.DeliveryOf(withoutTexts(d)) },
	})
}

// agentOf reads the parameter agent.
func agentOf(text string) (delivery.AgentRef, error) {
	if text == "" {
		return delivery.AgentRef{}, nil
	}
	namespace, name, ok := strings.Cut(text, "/")
	if !ok || namespace == "" || name == "" {
		return delivery.AgentRef{}, wrongParameter("agent", text, "write it as namespace/name")
	}
	return delivery.AgentRef{Namespace: namespace, Name: name}, nil
}

// What an incident's story shows at most; there can be more.
const (
	storyEvents     = 200
	storyDeliveries = 20
	storyEffects    = 100
	storyNotices    = 50
)

// incident tells an incident's story. The incident is read before it is known whether the caller may know of it, since only it
// says whose it is; the answer is then the same for one that is not there and for one that is somebody else's (allowFound),
// and after the same questions to Kubernetes. Each delivery's texts are shown by the rights to its own Hook.
func (s *Server) incident(ctx context.Context, in *StoryPath) (api.IncidentDetail, error) {
	var d api.IncidentDetail
	inc, st, err := lookUp(ctx, s, func(v view) (*incident.Incident, error) { return v.Incident(ctx, in.ID) })
	if st.Reader == nil {
		return d, err
	}
	if err != nil {
		inc = &incident.Incident{}
	}
	if err := st.allowFound(ctx, err, delivery.HookRef{Namespace: inc.Resource.Namespace}); err != nil {
		return d, err
	}
	events, err := st.IncidentEvents(ctx, inc.ID, storyEvents)
	if err != nil {
		return d, s.storeError(ctx, err)
	}
	decisions, err := st.IncidentDecisions(ctx, inc.ID, storyEvents)
	if err != nil {
		return d, s.storeError(ctx, err)
	}
	deliveries, err := st.DeliveriesOfIncident(ctx, inc.ID, storyDeliveries)
	if err != nil {
		return d, s.storeError(ctx, err)
	}
	effects, err := st.IncidentEffects(ctx, []string{inc.ID})
	if err != nil {
		return d, s.storeError(ctx, err)
	}
	now := time.Now()
	d = api.IncidentDetail{
		Incident: api.IncidentOf(inc, now), Effects: api.IncidentsOf(effects[:min(len(effects), storyEffects)], now), Deliveries: make([]api.Delivery, 0, len(deliveries)),
		Truncated: inc.Events > int64(len(events)) || len(deliveries) == storyDeliveries || len(effects) > storyEffects,
	}
	rights := st.textRights()
	for i, dl := range deliveries {
		seen, shaped, err := rights.show(ctx, dl)
		if err != nil {
			return api.IncidentDetail{}, err
		}
		deliveries[i], d.Deliveries = seen, append(d.Deliveries, shaped)
	}
	sent, err := st.NoticesOfIncident(ctx, inc.ID, storyNotices)
	if err != nil {
		return api.IncidentDetail{}, s.storeError(ctx, err)
	}
	d.Timeline = api.IncidentTimeline(inc, events, decisions, deliveries, sent)
	return d, nil
}

// delivery tells a delivery's story, by the same rule as incident. Who may not read its texts gets its log without words.
func (s *Server) delivery(ctx context.Context, in *StoryPath) (api.DeliveryDetail, error) {
	var d api.DeliveryDetail
	dl, st, err := lookUp(ctx, s, func(v view) (*delivery.Delivery, error) { return v.Delivery(ctx, in.ID) })
	if st.Reader == nil {
		return d, err
	}
	if err != nil {
		dl = &delivery.Delivery{}
	}
	if err := st.allowFound(ctx, err, dl.Hook, access.ReadTexts); err != nil {
		return d, err
	}
	seen, shaped, err := st.textRights().show(ctx, dl)
	if err != nil {
		return d, err
	}
	covered, err := st.DeliveryIncidents(ctx, dl.ID, storyEffects)
	if err != nil {
		return d, s.storeError(ctx, err)
	}
	log, err := st.DeliveryEntries(ctx, dl.ID)
	if err != nil {
		return d, s.storeError(ctx, err)
	}
	if shaped.TextsWithheld != "" {
		log = withoutWords(log)
	}
	sent, err := st.NoticesOfIncident(ctx, dl.IncidentID, storyNotices)
	if err != nil {
		return d, s.storeError(ctx, err)
	}
	sent = slices.DeleteFunc(sent, func(l *notice.Line) bool { return l.DeliveryID != dl.ID })
	return api.DeliveryDetail{Delivery: shaped, Incidents: api.IncidentsOf(covered, time.Now()), Log: api.LogOf(log), Timeline: api.DeliveryTimeline(seen, covered, log, sent)}, nil
}
