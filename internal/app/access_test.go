package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kagent-dev/khook/internal/lint"
)

func TestTheServiceIsKnownByItsNames(t *testing.T) {
	c := Options{ServiceName: "watcher", LeaderElectionNamespace: "ops", AllowedHosts: []string{"khook.example.com"}}
	got := c.hosts()
	for _, name := range []string{"khook.example.com", "watcher", "watcher.ops", "watcher.ops.svc", "watcher.ops.svc.cluster.local"} {
		if !slices.Contains(got, name) {
			t.Errorf("%s is not among %v", name, got)
		}
	}
	if got := clusterDomain("nameserver 10.0.0.10\nsearch ops.svc.corp.example svc.corp.example corp.example\n", "ops"); got != "corp.example" {
		t.Errorf("the domain of the cluster is %q", got)
	}
	if got := clusterDomain("search example.com\n", "ops"); got != "" {
		t.Errorf("outside of a cluster it is %q", got)
	}
}

func TestEachPurposeHasAClientWithALimitOfItsOwn(t *testing.T) {
	c, err := newClusterClients(&rest.Config{Host: "https://127.0.0.1:1", QPS: 1, Burst: 1})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[any]bool{}
	for _, client := range []*kubernetes.Clientset{c.watch, c.tell, c.lookup} {
		seen[client.CoreV1().RESTClient().GetRateLimiter()] = true
	}
	for range 1000 {
		c.lookup.CoreV1().RESTClient().GetRateLimiter().TryAccept()
		c.tell.CoreV1().RESTClient().GetRateLimiter().TryAccept()
	}
	if len(seen) != 3 || !c.watch.CoreV1().RESTClient().GetRateLimiter().TryAccept() {
		t.Error("detection waits for what others ask")
	}
}

func TestValidationsLookUpSoMuchOnly(t *testing.T) {
	var asked atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"kind": "Namespace", "apiVersion": "v1"}`)
	}))
	defer s.Close()
	clients, err := newClusterClients(&rest.Config{Host: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	p := &App{kube: clients, lookups: newLookupLimits(100)}
	validate := p.validate(nil)
	var text strings.Builder
	for i := range 100 {
		fmt.Fprintf(&text, "apiVersion: kagent.dev/v1alpha2\nkind: Hook\nmetadata: {name: a, namespace: ns-%d}\nspec: {eventConfigurations: []}\n---\n", i)
	}
	said := 0
	for range 20 {
		for _, w := range validate(t.Context(), []byte(text.String())).Warnings {
			if strings.Contains(w.Message, "too many look-ups") {
				said++
			}
		}
	}
	if n := int(asked.Load()); n < callerLookups || n > 2*callerLookups || said != 20*100-n {
		t.Errorf("20 validations of 100 namespaces looked up %d, and said of %d that they were not", n, said)
	}
	if err := p.lookups.spend(context.Background(), "this"); !errors.Is(err, lint.ErrUnknown) {
		t.Errorf("what was not looked up is a mistake: %v", err)
	}
}
