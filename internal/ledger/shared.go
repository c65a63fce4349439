package ledger

import (
	"slices"

	"github.com/kagent-dev/khook/internal/incident"
)

// Shared says what else is failing with the type and the reason of inc; nil if it is alone.
func (l *Ledger) Shared(inc *incident.Incident) *incident.Shared {
	l.mu.Lock()
	defer l.mu.Unlock()
	type workload struct {
		namespace string
		incident.Workload
	}
	shared := &incident.Shared{Reason: inc.Reason, Since: inc.FirstSeen.UTC()}
	resources, workloads, nodes := map[string]bool{}, map[workload]bool{}, map[string]bool{}
	for _, other := range l.open.byKey {
		if other.Type != inc.Type || other.Reason != inc.Reason {
			continue
		}
		resources[other.Resource.UID] = true
		workloads[workload{other.Resource.Namespace, other.Workload}] = true
		if other.Node != "" && len(nodes) < incident.MaxSharedNodes {
			nodes[other.Node] = true
		}
		if other.FirstSeen.Before(shared.Since) {
			shared.Since = other.FirstSeen.UTC()
		}
	}
	if len(workloads) < 2 {
		return nil
	}
	for n := range nodes {
		shared.Nodes = append(shared.Nodes, n)
	}
	slices.Sort(shared.Nodes)
	shared.Resources, shared.Workloads = len(resources), len(workloads)
	return shared
}
