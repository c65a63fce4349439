package system

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/kagent-dev/khook/internal/access"
	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/kubetest"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

// secondCluster is another API server than the one that the tests share.
type secondCluster struct {
	t          *testing.T
	client     client.Client
	kubeconfig string
}

func startSecond(t *testing.T) *secondCluster {
	t.Helper()
	env, err := kubetest.Start(filepath.Join("..", "..", "config", "crd"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(env.Stop)
	c := &secondCluster{t: t, kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	user, err := env.AddUser(envtest.User{Name: "khook", Groups: []string{"system:masters"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	config, err := user.KubeConfig()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.kubeconfig, config, 0o600); err != nil {
		t.Fatal(err)
	}
	if c.client, err = client.New(env.Config, client.Options{Scheme: testCluster.client.Scheme()}); err != nil {
		t.Fatal(err)
	}
	return c
}

// copy makes what the first cluster has in the second one too, with the same name.
func (c *secondCluster) copy(obj client.Object) {
	c.t.Helper()
	obj.SetResourceVersion("")
	obj.SetUID("")
	if err := c.client.Create(c.t.Context(), obj); err != nil {
		c.t.Fatal(err)
	}
}

// TestTwoClustersInOneDatabaseNeverMix: each with its API server, its khook and its kagent, and with a namespace, a Hook and a Pod of the same
// names. If a group's key, a budget, a dedup window or an ID were one for both, one of them would not call its agent, or call it as the other.
func TestTwoClustersInOneDatabaseNeverMix(t *testing.T) {
	pgtest.OnlySQLite(t) // it is on PostgreSQL in any case
	url, second := pgtest.Shared(t).Schema(t), startSecond(t)
	ns := namespace(t)
	h := applyHook(t, ns, "memory", incident.OOMKill)
	one := int32(1)
	h.Spec.MaxCallsPerHour = &one
	if err := testCluster.client.Update(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	second.copy(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}})
	second.copy(h.DeepCopy())
	khooks, kagents := map[string]*process{}, map[string]*kagenttest.Server{}
	for name, more := range map[string][]string{"east": {"--serve-clusters"}, "west": {"--kubeconfig", second.kubeconfig}} {
		kagents[name] = kagenttest.New(t, kagenttest.Options{})
		args := append(settings(kagents[name], t.TempDir()), "--cluster", name, "--namespaces", ns, "--stabilization", "1h", "--api-rate-limit", "1000", "--api-rate-burst", "2000")
		args[slices.Index(args, "--database")+1] = url
		khooks[name] = controller(t, append(args, more...)...)
	}
	for _, p := range khooks {
		p.ready()
	}
	pod := newPod(t, ns, "cart", "cart-0")
	twin := pod.DeepCopy()
	second.copy(twin)
	crashLoops(t, pod, 1, "OOMKilled")
	second.crashLoops(twin, 1)
	for _, name := range []string{"east", "west"} {
		if _, err := kagents[name].Await(t.Context(), 1); err != nil {
			t.Fatalf("%s calls nobody: %v", name, err)
		}
	}
	crashLoops(t, pod, 2, "OOMKilled") // in east alone it goes on
	overAll := caller{t, "http://" + khooks["east"].api + api.Base, serviceAccountWith(t, ns, "fleet", append(slices.Clone(readsHooks),
		rbacv1.PolicyRule{APIGroups: []string{access.ClusterGroup}, Resources: []string{"clusters"}, ResourceNames: []string{"west"}, Verbs: []string{"list"}})...)}
	eventually(t, "both clusters have what is theirs", func() error { return bothApart(overAll, ns, map[string]int{"east": 2, "west": 1}) })
	theirs := read[api.Page[api.Delivery]](overAll, "/deliveries?cluster=west").Items[0]
	t.Run("each is called once, as itself", func(t *testing.T) {
		told := map[string]bool{}
		for name, kagent := range kagents {
			messages := kagent.Messages()
			if len(messages) != 1 {
				t.Errorf("%s was sent %d messages", name, len(messages))
			}
			told[messages[0].ID], told[messages[0].ContextID] = true, true
		}
		if len(told) != 4 {
			t.Errorf("messages or contexts of both are the same: %v", told)
		}
	})
	t.Run("metrics are of the own cluster", func(t *testing.T) {
		for name, p := range khooks {
			awaitMetric(t, p, `khook_active_events{event_type="oom-kill"} 1`)
			if m := read[api.HookMetrics](overAll, "/stats/hooks/"+ns+"/memory/metrics?cluster="+name); m.Deliveries.Created != 1 || m.Cluster != name {
				t.Errorf("%s: %+v", name, m)
			}
		}
	})
	t.Run("without the right there is one cluster", func(t *testing.T) {
		local := caller{t, overAll.base, serviceAccountWith(t, ns, "local", readsHooks...)}
		if page := read[api.Page[api.Event]](local, "/events?eventType=oom-kill"); len(page.Items) != 2 || page.Items[0].Cluster != "east" || page.Items[1].Cluster != "east" {
			t.Errorf("%+v", page.Items)
		}
		none := local.get("/deliveries/" + incident.DeriveID("never was"))
		if r := local.get("/deliveries/" + theirs.ID); r.code != http.StatusNotFound || r.body != none.body {
			t.Errorf("an ID of west: %d %s", r.code, r.body)
		}
		local.get("/events?cluster=west").problem(t, http.StatusForbidden, "clusters (API group khook.kagent.dev) with the resourceName west")
		if code, out, errs := runCLI(t, "events", "-n", ns, "--server", "http://"+khooks["east"].api, "--token", local.token); code != 0 || strings.Contains(out, "west") {
			t.Errorf("%d %s%s", code, out, errs)
		}
	})
	t.Run("at a terminal", func(t *testing.T) {
		at := []string{"-n", ns, "--server", "http://" + khooks["east"].api, "--token", overAll.token}
		for _, c := range []struct {
			args []string
			want string
		}{
			{[]string{"incidents"}, "CLUSTER"}, {[]string{"deliveries", "--cluster", "west"}, theirs.ID[:8]}, {[]string{"events", "--cluster", "west,east", "-o", "json"}, `"cluster": "west"`},
			{[]string{"stats", "--cluster", "west"}, "2 events"}, {[]string{"stats", "trends", "--by", "cluster"}, "WEST"}, {[]string{"agents"}, "CLUSTER"},
		} {
			if code, out, errs := runCLI(t, append(c.args, at...)...); code != 0 || !strings.Contains(out, c.want) {
				t.Errorf("%v: %d %s%s", c.args, code, out, errs)
			}
		}
		if code, _, errs := runCLI(t, "deliveries", "cancel", theirs.ID, "--server", "http://"+khooks["east"].api, "--token", overAll.token); code == 0 || !strings.Contains(errs, "cluster west") {
			t.Errorf("an action on another cluster's: %d %s", code, errs)
		}
	})
}

// bothApart says what is not as it should be in two clusters' histories.
func bothApart(c caller, ns string, events map[string]int) error {
	got, ids := map[string]int{}, map[string]bool{}
	for _, e := range read[api.Page[api.Event]](c, "/events?eventType=oom-kill&namespace="+ns).Items {
		got[e.Cluster]++
	}
	for _, i := range read[api.Page[api.Incident]](c, "/incidents?eventType=oom-kill").Items {
		ids[i.Cluster+"'s incident"], ids[i.ID] = true, true
	}
	for _, d := range read[api.Page[api.Delivery]](c, "/deliveries").Items {
		ids[d.Cluster+"'s delivery"], ids[d.ID] = true, true
		if d.Hook != (api.Name{Namespace: ns, Name: "memory"}) || d.CalledAt.IsZero() {
			return fmt.Errorf("a delivery of %+v in %s, called %s", d.Hook, d.Cluster, d.CalledAt)
		}
	}
	if got["east"] != events["east"] || got["west"] != events["west"] || len(got) != 2 || len(ids) != 8 {
		return fmt.Errorf("events %v, and %v", got, ids)
	}
	return nil
}

// crashLoops is crashLoops for a Pod of this cluster.
func (c *secondCluster) crashLoops(p *corev1.Pod, restarts int) {
	c.t.Helper()
	setStatus(p, restarts, "OOMKilled")
	st := &p.Status.ContainerStatuses[0]
	st.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
	st.Ready = false
	p.Status.Conditions[0].Status = corev1.ConditionFalse
	if err := c.client.Status().Update(c.t.Context(), p); err != nil {
		c.t.Fatal(err)
	}
}
