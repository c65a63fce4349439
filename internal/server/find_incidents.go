package server

import (
	"context"
	"database/sql"
	"time"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// What the answers about incidents that belong together have at most.
const (
	maxGroups       = 500
	maxEarlier      = 20
	maxEarlierCalls = 200
)

type groupsInput struct{ NamespaceFilter }

func (s *Server) registerFound() {
	getRoute(s, "listIncidentGroups", "/incidents/groups", tagStory, "Count what is open by workload and type",
		"The open incidents together that have one workload and one eventType; what was seen last comes first. At most 500 groups of the 10,000 newest that are open: truncated says that there is more.", s.incidentGroups)
	getRoute(s, "listEarlierIncidents", "/incidents/{id}/earlier", tagStory, "List what happened to the workload before",
		"The incidents of the same workload and eventType that were seen first before this one, with the calls about each and what came of them; the newest first, at most 20. Who may know of the incident may know of these: the calls are without their texts.", s.earlierIncidents, with404)
}

func (s *Server) incidentGroups(ctx context.Context, in *groupsInput) (api.IncidentGroups, error) {
	answer := api.IncidentGroups{Items: []api.IncidentGroup{}}
	if err := s.allow(ctx, in.Namespace); err != nil {
		return answer, err
	}
	groups, err := s.cfg.Reader.IncidentGroups(ctx, in.Namespace, maxGroups+1)
	if err != nil {
		return answer, s.storeError(ctx, err)
	}
	for i := range groups {
		g := &groups[i]
		answer.Incidents += g.Incidents
		if i == maxGroups {
			answer.Truncated = true
			break
		}
		answer.Items = append(answer.Items, api.IncidentGroup{
			Namespace: g.Namespace, Workload: api.Workload(g.Workload), EventType: api.EventType(g.Type), Incidents: g.Incidents, Events: g.Events, Caused: g.Caused, CausedBy: g.CausedBy,
			FirstSeen: time.UnixMicro(g.FirstSeen).UTC(), LastSeen: time.UnixMicro(g.LastSeen).UTC(),
		})
	}
	answer.Truncated = answer.Truncated || answer.Incidents >= store.GroupBound
	return answer, nil
}

// earlierIncidents tells what happened to an incident's workload before, by the same rule as incident.
func (s *Server) earlierIncidents(ctx context.Context, in *StoryPath) (api.EarlierIncidents, error) {
	answer := api.EarlierIncidents{Items: []api.EarlierIncident{}}
	inc, err := s.cfg.Reader.Incident(ctx, in.ID)
	if err != nil {
		inc = &incident.Incident{}
	}
	if err := s.allowFound(ctx, err, delivery.HookRef{Namespace: inc.Resource.Namespace}); err != nil {
		return answer, err
	}
	found, total, err := s.cfg.Reader.ListIncidents(ctx, store.IncidentQuery{
		Namespace: inc.Resource.Namespace, Workload: inc.Workload.Name, Type: inc.Type, To: sql.Null[time.Time]{V: inc.FirstSeen, Valid: true}, Descending: true,
	}, store.Paging{Limit: maxEarlier})
	if err != nil {
		return answer, s.storeError(ctx, err)
	}
	var ids []string
	for _, before := range found {
		if before.Workload.Kind == inc.Workload.Kind {
			ids = append(ids, before.ID)
		}
	}
	if len(ids) == 0 {
		return answer, nil
	}
	calls, err := s.cfg.Reader.Calls(ctx, ids, maxEarlierCalls)
	if err != nil {
		return answer, s.storeError(ctx, err)
	}
	now := time.Now()
	for _, before := range found {
		if before.Workload.Kind != inc.Workload.Kind {
			continue
		}
		told := api.EarlierIncident{Incident: api.IncidentOf(before, now), Deliveries: []api.Delivery{}}
		for _, d := range calls[before.ID] {
			told.Deliveries = append(told.Deliveries, api.DeliveryOf(withoutTexts(d)))
		}
		answer.Items = append(answer.Items, told)
	}
	answer.Truncated = total.More
	return answer, nil
}
