package access

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/kagent-dev/khook/internal/delivery"
)

// Control says who calls, and what the caller may read.
type Control interface {
	// Authenticate returns who sent the request from an address, which is empty where it stands for nobody
	// in particular. The error is ErrUnknownCaller if the request does not prove who sent it, another one if
	// that could not be found out, or not now (review.ErrBusy).
	Authenticate(r *http.Request, address string) (Caller, error)
	// May says whether Kubernetes grants the caller a right. The error says that it could not be asked, or
	// not now (review.ErrBusy).
	May(ctx context.Context, c Caller, r Right) (bool, error)
}

// Right is what a caller can be granted by a Role: a verb on the Hooks, or on what belongs to them, in a
// namespace, or in all of them if Namespace is empty; or a verb on other clusters, or on a path that is no resource.
type Right struct {
	Verb        string // such as list
	Subresource string // of hooks.kagent.dev, such as deliveries; empty: the Hooks themselves
	Namespace   string // empty: all
	Name        string // of the Hook, or of the cluster; empty: any
	Clusters    bool   // it is about clusters of the database, and not about Hooks; then Namespace is empty
	Path        string // such as /metrics; then the other fields but Verb are empty
}

// ClusterGroup is the API group of the virtual resource clusters: of the clusters whose histories are in the database. It exists in Roles only.
const ClusterGroup = "khook.kagent.dev"

// ReadHooks is the right to read what happened in a namespace, or in all if it is empty.
func ReadHooks(namespace string) Right { return Right{Verb: "list", Namespace: namespace} }

// ReadCluster is the right to read what happened in another cluster, in all of its namespaces; without a name in all clusters.
func ReadCluster(name string) Right { return Right{Verb: "list", Clusters: true, Name: name} }

// ReadClusterTexts is the right to read what was asked, answered and said in another cluster's deliveries.
func ReadClusterTexts(name string) Right {
	return Right{Verb: "get", Clusters: true, Subresource: "deliveries", Name: name}
}

// GetPath is the right to get a path that is no resource.
func GetPath(path string) Right { return Right{Verb: "get", Path: path} }

// Caller is who sent a request.
type Caller interface{ GetName() string }

// ErrUnknownCaller is returned for a request that does not prove who sent it.
var ErrUnknownCaller = errors.New("unknown caller")

// What belongs to a Hook's deliveries is granted by a subresource that exists in Roles only: hooks/deliveries.
// Its name is the Hook's, so resourceNames of a Role restrict it to some Hooks.

// ReadTexts is the right to read what was asked, answered and said in a Hook's deliveries.
func ReadTexts(hook delivery.HookRef) Right { return onDeliveries("get", hook) }

// ActOn is the right to reply to the agents of a Hook's deliveries, and to cancel, retry and resume them.
func ActOn(hook delivery.HookRef) Right { return onDeliveries("update", hook) }

// Decide is the right to approve or reject what the agents of a Hook's deliveries ask for.
func Decide(hook delivery.HookRef) Right { return onDeliveries("approve", hook) }

// PauseCalls is the right to pause and resume the calls of a scope. It is granted by hooks/pause, which exists in Roles only.
func PauseCalls(scope delivery.PauseScope) Right {
	return Right{Verb: "update", Subresource: "pause", Namespace: scope.Namespace, Name: scope.Hook}
}

func onDeliveries(verb string, hook delivery.HookRef) Right {
	return Right{Verb: verb, Subresource: "deliveries", Namespace: hook.Namespace, Name: hook.Name}
}

// Grant is the right as a Role grants it, for those who ask for it.
func (r Right) Grant() string {
	if r.Clusters {
		return fmt.Sprintf("the verb %s on %s (API group %s) with the resourceName %s (a ClusterRole)", r.Verb, r.resource(), ClusterGroup, r.Name)
	}
	where := "in namespace " + r.Namespace
	if r.Namespace == "" {
		where = "in all namespaces (a ClusterRole)"
	}
	return fmt.Sprintf("the verb %s on %s (API group kagent.dev) %s", r.Verb, r.resource(), where)
}

func (r Right) resource() string {
	of := "hooks"
	if r.Clusters {
		of = "clusters"
	}
	if r.Subresource == "" {
		return of
	}
	return of + "/" + r.Subresource
}
