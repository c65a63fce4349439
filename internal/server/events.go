package server

import (
	"context"
	"strings"
	"time"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// EventFilter are the filters of events, beside those that a route has in its path.
type EventFilter struct {
	ResourceName string `query:"resourceName" maxLength:"253" doc:"Name of the Kubernetes resource." example:"cart-7d4b9c-x2x9k"`
	Workload     string `query:"workload" maxLength:"253" doc:"Name of the controller that owns the resource." example:"cart"`
	Status       string `query:"status" enum:"firing,duplicate,resolved" doc:"firing: it opened an incident that is still open. duplicate: it repeated an open incident. resolved: it opened an incident that has ended." example:"firing"`
	Window
	Sort string `query:"sort" enum:"timestamp,-timestamp,eventType,-eventType,resourceName,-resourceName" default:"-timestamp" doc:"The order; - for descending. Events that are the same in it come by timestamp, in the same direction."`
	Paging
}

// NamespaceFilter restricts a list to a namespace.
type NamespaceFilter struct {
	Namespace string `query:"namespace" maxLength:"63" pattern:"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" patternDescription:"the name of a namespace (lower-case letters, digits and -)" doc:"Only this namespace; all if it is absent." example:"shop"`
}

// TypeFilter restricts a list to an event type.
type TypeFilter struct {
	EventType api.EventType `query:"eventType" doc:"Only this kind of problem." example:"oom-kill"`
}

// HookPath names a Hook in the path.
type HookPath struct {
	Namespace string `path:"namespace" maxLength:"63" pattern:"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" patternDescription:"the name of a namespace (lower-case letters, digits and -)" example:"shop"`
	Name      string `path:"name" maxLength:"253" pattern:"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$" patternDescription:"a name (lower-case letters, digits, - and .)" example:"memory"`
}

func (p HookPath) ref() delivery.HookRef { return delivery.HookRef(p) }

type allEvents struct {
	ClusterFilter
	NamespaceFilter
	TypeFilter
	EventFilter
}

type namespaceEvents struct {
	ClusterFilter
	Namespace string `path:"namespace" maxLength:"63" pattern:"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" patternDescription:"the name of a namespace (lower-case letters, digits and -)" example:"shop"`
	TypeFilter
	EventFilter
}

type typeEvents struct {
	ClusterFilter
	EventType api.EventType `path:"eventType" example:"oom-kill"`
	NamespaceFilter
	EventFilter
}

type hookEvents struct {
	HookPath
	OneCluster
	TypeFilter
	EventFilter
}

func (s *Server) registerEvents() {
	getRoute(s, "listEvents", "/events", tagEvents, "List events",
		"All namespaces together need the right to list Hooks cluster-wide; with namespace the right in that namespace is enough.",
		func(ctx context.Context, in *allEvents) (api.Page[api.Event], error) {
			return s.events(ctx, in.ClusterFilter, in.EventFilter, store.EventQuery{Namespace: in.Namespace, Type: incident.EventType(in.EventType)})
		})
	getRoute(s, "listNamespaceEvents", "/events/{namespace}", tagEvents, "List the events of a namespace", "As listEvents with the parameter namespace. Needs the right for this namespace only.",
		func(ctx context.Context, in *namespaceEvents) (api.Page[api.Event], error) {
			return s.events(ctx, in.ClusterFilter, in.EventFilter, store.EventQuery{Namespace: in.Namespace, Type: incident.EventType(in.EventType)})
		})
	getRoute(s, "listTypeEvents", "/events/types/{eventType}", tagEvents, "List the events of a type", "As listEvents with the parameter eventType.",
		func(ctx context.Context, in *typeEvents) (api.Page[api.Event], error) {
			return s.events(ctx, in.ClusterFilter, in.EventFilter, store.EventQuery{Namespace: in.Namespace, Type: incident.EventType(in.EventType)})
		})
	getRoute(s, "listHookEvents", "/hooks/{namespace}/{name}/events", tagEvents, "List the events that a Hook decided about",
		"Each event has its dispositions: why the Hook did or did not call its agent. A Hook that was deleted keeps its history; one that never decided anything has an empty list.",
		func(ctx context.Context, in *hookEvents) (api.Page[api.Event], error) {
			return s.hookEvents(ctx, in)
		})
}

// events answers with a page of events, if the caller may see them.
func (s *Server) events(ctx context.Context, clusters ClusterFilter, f EventFilter, q store.EventQuery) (api.Page[api.Event], error) {
	q.Name, q.Workload, q.Status = f.ResourceName, f.Workload, incident.Status(f.Status)
	q.From, q.To = f.StartTime.bound(), f.EndTime.bound()
	q.Sort, q.Descending = orderOf(f.Sort)
	return listPage(ctx, s, listing[store.EventQuery, incident.Event, api.Event]{
		clusters: clusters, namespace: q.Namespace, window: f.Window, paging: f.Paging,
		query: func() (store.EventQuery, error) { return q, nil },
		rows:  (*store.Reader).ListEvents, position: store.EventQuery.Position,
		falling: func(q store.EventQuery) bool { return q.Descending },
		shape:   func(e *incident.Event, _ time.Time) api.Event { return api.EventOf(e) },
	})
}

// orderOf reads the sort parameter.
func orderOf(sort string) (column string, descending bool) {
	name, descending := strings.CutPrefix(sort, "-")
	return map[string]string{"eventType": store.ByType, "resourceName": store.ByName}[name], descending
}

// hookEvents answers with a page of a hook's events, each with the hook's decisions. The events are looked up by the decisions and not
// by the Hook's present configurations: those may have been others when the Hook decided, and the Hook may be no more.
func (s *Server) hookEvents(ctx context.Context, in *hookEvents) (api.Page[api.Event], error) {
	own, err := s.viewOf(ctx, in.Cluster, in.Namespace)
	if err != nil {
		return api.Page[api.Event]{}, err
	}
	page, err := s.events(ctx, ClusterFilter{[]string{own.cluster()}}, in.EventFilter, store.EventQuery{Namespace: in.Namespace, Type: incident.EventType(in.EventType), Hook: in.ref()})
	if err != nil {
		return page, err
	}
	ids, at := make([]int64, len(page.Items)), make(map[int64]int, len(page.Items))
	for i, e := range page.Items {
		ids[i], at[e.ID] = e.ID, i
	}
	decisions, err := own.HookDecisions(ctx, in.ref(), ids)
	if err != nil {
		return page, s.storeError(ctx, err)
	}
	for _, d := range decisions {
		e := &page.Items[at[d.EventID]]
		e.Dispositions = append(e.Dispositions, api.DecisionOf(d))
	}
	return page, nil
}
