package server

import (
	"context"
	"database/sql"
	"slices"
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

type groupsInput struct {
	ClusterFilter
	NamespaceFilter
}

func (s *Server) registerFound() {
	getRoute(s, "listIncidentGroups", "/incidents/groups", tagStory, "Count what is open by workload and type",
		"The open incidents together that have one workload and one eventType; what was seen last comes first. At most 500 groups of the 10,000 newest that are open: truncated says that there is more.", s.incidentGroups)
	getRoute(s, "listEarlierIncidents", "/incidents/{id}/earlier", tagStory, "List what happened to the workload before",
		"The incidents of the same workload and eventType that were seen first before this one, with the calls about each and what came of them; the newest first, at most 20. Who may know of the incident may know of these: the calls are without their texts.", s.earlierIncidents, with404)
}

func (s *Server) incidentGroups(ctx context.Context, in *groupsInput) (api.IncidentGroups, error) {
	answer := groupsOf{api.IncidentGroups{Items: []api.IncidentGroup{}}}
	views, err := s.views(ctx, in.ClusterFilter, in.Namespace)
	if err != nil {
		return answer.IncidentGroups, err
	}
	for _, v := range views {
		groups, err := v.IncidentGroups(ctx, in.Namespace, maxGroups+1)
		if err != nil {
			return answer.IncidentGroups, s.storeError(ctx, err)
		}
		answer.add(v, groups)
	}
	return answer.IncidentGroups, nil
}

// groupsOf are the groups of several clusters.
type groupsOf struct{ api.IncidentGroups }

// add adds those of a cluster; what was seen last comes first.
func (answer *groupsOf) add(v view, groups []store.IncidentGroup) {
	incidents := int64(0)
	for i := range groups {
		g := &groups[i]
		incidents += g.Incidents
		if i == maxGroups {
			answer.Truncated = true
			break
		}
		answer.Items = append(answer.Items, api.IncidentGroup{
			Cluster: v.cluster(), Namespace: g.Namespace, Workload: api.Workload(g.Workload), EventType: api.EventType(g.Type), Incidents: g.Incidents, Events: g.Events, Caused: g.Caused, CausedBy: g.CausedBy,
			FirstSeen: time.UnixMicro(g.FirstSeen).UTC(), LastSeen: time.UnixMicro(g.LastSeen).UTC(),
		})
	}
	answer.Incidents += incidents
	slices.SortStableFunc(answer.Items, func(a, b api.IncidentGroup) int { return b.LastSeen.Compare(a.LastSeen) })
	if len(answer.Items) > maxGroups {
		answer.Items, answer.Truncated = answer.Items[:maxGroups], true
	}
	answer.Truncated = answer.Truncated || incidents >= store.GroupBound
}

// earlierIncidents tells what happened to an incident's workload before, by the same rule as incident.
func (s *Server) earlierIncidents(ctx context.Context, in *StoryPath) (api.EarlierIncidents, error) {
	answer := api.EarlierIncidents{Items: []api.EarlierIncident{}}
	inc, st, err := lookUp(ctx, s, func(v view) (*incident.Incident, error) { return v.Incident(ctx, in.ID) })
	if st.Reader == nil {
		return answer, err
	}
	if err != nil {
		inc = &incident.Incident{}
	}
	if err := st.allowFound(ctx, err, delivery.HookRef{Namespace: inc.Resource.Namespace}); err != nil {
		return answer, err
	}
	found, total, err := st.ListIncidents(ctx, store.IncidentQuery{
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
	calls, err := st.Calls(ctx, ids, maxEarlierCalls)
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
