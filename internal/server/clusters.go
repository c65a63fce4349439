package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/kagent-dev/khook/internal/access"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// maxClusters is how many clusters are read for one answer: each is asked for rights, and read, by itself.
const maxClusters = 64

// ClusterFilter restricts what is read to some clusters.
type ClusterFilter struct {
	Clusters []string `query:"cluster" maxItems:"64" maxLength:"253" doc:"Only these clusters, separated by commas. If absent: khook's own, and where it serves others (--serve-clusters), all that the caller may read, which is said by GET /clusters."`
}

// OneCluster names one cluster, where several can't be told together.
type OneCluster struct {
	Cluster string `query:"cluster" maxLength:"253" doc:"The cluster; khook's own if absent. Another one needs a khook that serves it (--serve-clusters)."`
}

// view is the history of one cluster, as a caller may read it. There is no other way to the rows of another cluster than by a view that
// viewOf or others made, which they do only for who may read that cluster.
type view struct {
	*store.Reader
	server *Server
	own    bool // khook's own cluster, whose rows are read by the rights to its Hooks
}

func (s *Server) ownView() view { return view{s.cfg.Reader, s, true} }

// cluster is the name of the cluster.
func (v view) cluster() string { return v.Cluster().Name }

// readRight is the right that a namespace is read by, or all if it is empty.
func (v view) readRight(namespace string) access.Right {
	if v.own {
		return access.ReadHooks(namespace)
	}
	return access.ReadCluster(v.cluster())
}

// viewOf is the view of a cluster, or of khook's own if the name is empty, if the caller may read a namespace of it, or all if that is empty.
// Who may read another cluster may read all of its namespaces: what rights its own Kubernetes grants is not known here.
func (s *Server) viewOf(ctx context.Context, name, namespace string) (view, error) {
	own := s.ownView()
	if name == "" || name == own.cluster() {
		return own, s.allow(ctx, namespace)
	}
	if !s.cfg.ServeClusters {
		return own, wrongParameter("cluster", name, "this khook serves its own cluster only: ask the khook of that cluster, or let this one serve the others of its database (--serve-clusters)")
	}
	right := access.ReadCluster(name)
	if err := s.require(ctx, func(caller string) string {
		return fmt.Sprintf("%s may not read cluster %s: ask for %s", caller, incident.Clean(name, 253), right.Grant())
	}, right); err != nil {
		return own, err
	}
	all, err := own.Clusters(ctx)
	if err != nil {
		return own, s.storeError(ctx, err)
	}
	for _, c := range all {
		if c.Name == name {
			return view{own.Of(c), s, false}, nil
		}
	}
	return own, wrongParameter("cluster", name, "the database has no cluster of this name: GET /clusters lists those that there are")
}

// others are the views of the other clusters that the caller may read.
func (s *Server) others(ctx context.Context) ([]view, error) {
	if !s.cfg.ServeClusters {
		return nil, nil
	}
	own := s.ownView()
	all, err := own.Clusters(ctx)
	if err != nil {
		return nil, s.storeError(ctx, err)
	}
	all = slices.DeleteFunc(all, func(c *store.Cluster) bool { return c.No == own.Cluster().No })
	if len(all) >= maxClusters {
		return nil, huma.Error400BadRequest(fmt.Sprintf("the database has more than %d clusters, which are too many to be read at once: name some (cluster=...)", maxClusters))
	}
	if len(all) == 0 {
		return nil, nil
	}
	every, err := s.may(ctx, access.ReadCluster(""))
	if err != nil {
		return nil, err
	}
	var views []view
	for _, c := range all {
		may := every
		if !may && c.Name != "" { // to be asked about the empty name is to be asked about all
			if may, err = s.may(ctx, access.ReadCluster(c.Name)); err != nil {
				return nil, err
			}
		}
		if may {
			views = append(views, view{own.Of(c), s, false})
		}
	}
	return views, nil
}

// views are those of the clusters that are asked for, or of all that the caller may read if none are. The error says what is missing if
// that is none.
func (s *Server) views(ctx context.Context, f ClusterFilter, namespace string) ([]view, error) {
	if len(f.Clusters) > 0 {
		var views []view
		for i, name := range f.Clusters {
			if slices.Contains(f.Clusters[:i], name) {
				continue
			}
			v, err := s.viewOf(ctx, name, namespace)
			if err != nil {
				return nil, err
			}
			views = append(views, v)
		}
		return views, nil
	}
	foreign, err := s.others(ctx)
	if err != nil {
		return nil, err
	}
	if len(foreign) == 0 {
		return []view{s.ownView()}, s.allow(ctx, namespace)
	}
	switch may, err := s.may(ctx, access.ReadHooks(namespace)); {
	case err != nil:
		return nil, err
	case may:
		foreign = append([]view{s.ownView()}, foreign...)
	}
	return foreign, nil
}

// lookUp looks for the row of an ID in khook's own cluster, and in the others that the caller may read. Which those are is asked before
// the ID is looked at, and nowhere else is it looked for: so what is said of an ID of a cluster that the caller may not read, and how
// long that takes, is what it is of an ID that is not there. A row of the own cluster is still to be allowed (allowFound).
func lookUp[T any](ctx context.Context, s *Server, get func(view) (T, error)) (row T, from view, err error) {
	foreign, err := s.others(ctx)
	if err != nil {
		return row, from, err
	}
	from = s.ownView()
	row, err = get(from)
	for _, other := range foreign {
		if !errors.Is(err, store.ErrNotFound) {
			break
		}
		if found, none := get(other); !errors.Is(none, store.ErrNotFound) {
			row, from, err = found, other, none
		}
	}
	return row, from, err
}

// allowFound is Server.allowFound for what lookUp found: in another cluster it looked only because the caller may read all of that.
func (v view) allowFound(ctx context.Context, lookup error, hook delivery.HookRef, further ...func(delivery.HookRef) access.Right) error {
	switch {
	case v.own:
		return v.server.allowFound(ctx, lookup, hook, further...)
	case lookup != nil:
		return v.server.storeError(ctx, lookup)
	}
	return nil
}

// readersOf are the histories of views.
func readersOf(views []view) []*store.Reader {
	readers := make([]*store.Reader, len(views))
	for i, v := range views {
		readers[i] = v.Reader
	}
	return readers
}

// namesOf are the names of the clusters that an answer is about, which it says if another cluster than khook's own is among them.
func namesOf(views []view) []string {
	if len(views) == 1 && views[0].own {
		return nil
	}
	names := make([]string, len(views))
	for i, v := range views {
		names[i] = v.cluster()
	}
	return names
}

func (s *Server) registerClusters() {
	getRoute(s, "listClusters", "/clusters", tagPeople, "List the clusters that the caller may read",
		"khook's own, and where it serves others (--serve-clusters) those of the others that the caller may read. Needs a token, and no further right.", s.clusters)
}

func (s *Server) clusters(ctx context.Context, _ *struct{}) (api.Clusters, error) {
	own := s.ownView()
	list := api.Clusters{Items: []api.Cluster{{Name: own.cluster(), Own: true}}, ServesOthers: s.cfg.ServeClusters}
	foreign, err := s.others(ctx)
	if err != nil {
		return list, err
	}
	for _, v := range foreign {
		list.Items = append(list.Items, api.Cluster{Name: v.cluster()})
	}
	slices.SortFunc(list.Items[1:], func(a, b api.Cluster) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}
