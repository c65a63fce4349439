package app

import (
	"errors"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// How many requests a second, and at once, each of khook's clients sends to the API server. None spends
// what another lives on: whatever strangers ask the HTTP API, detection watches, Hooks are told, and the
// leader stays the leader. Reviews of callers have a client of their own too, see access.New.
const (
	watchQPS, watchBurst   = 50, 100 // detection's lists and watches
	tellQPS, tellBurst     = 20, 50  // Kubernetes Events; status.EventRecorder bounds them further
	statusQPS, statusBurst = 50, 100 // the manager's: the status of Hooks, and its cache of them
	lookupQPS, lookupBurst = 20, 50  // what the validation of Hooks looks up
	leaseQPS, leaseBurst   = 10, 20  // leader election
)

// clusterClients are the clients of the API server that khook itself has, each for one purpose.
type clusterClients struct{ watch, tell, lookup *kubernetes.Clientset }

func newClusterClients(cfg *rest.Config) (c clusterClients, err error) {
	var errs [3]error
	c.watch, errs[0] = kubernetes.NewForConfig(watchConfig(cfg))
	c.tell, errs[1] = kubernetes.NewForConfig(withRate(cfg, tellQPS, tellBurst))
	c.lookup, errs[2] = kubernetes.NewForConfig(withRate(cfg, lookupQPS, lookupBurst))
	return c, errors.Join(errs[:]...)
}

// withRate is a configuration whose clients have a rate limit of their own.
func withRate(cfg *rest.Config, qps float32, burst int) *rest.Config {
	c := rest.CopyConfig(cfg)
	c.QPS, c.Burst, c.RateLimiter = qps, burst, nil
	return c
}

// watchConfig is the client configuration of the watches: they live long, and are few.
func watchConfig(cfg *rest.Config) *rest.Config {
	c := withRate(cfg, watchQPS, watchBurst)
	c.Timeout = 0
	c.ContentType = "application/vnd.kubernetes.protobuf"
	c.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	return c
}
