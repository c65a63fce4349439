package system

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// caller asks the HTTP API of a running khook.
type caller struct {
	t     testing.TB
	base  string // with /api/v1
	token string
}

// reply is what the API answered.
type reply struct {
	code   int
	header http.Header
	body   string
}

func (c caller) do(method, path, body string, headers ...string) reply {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(text)}
}

func (c caller) get(path string, headers ...string) reply {
	c.t.Helper()
	return c.do(http.MethodGet, path, "", headers...)
}

// post sends JSON, or nothing, and checks the status of the answer.
func (c caller) post(path, body string, code int) reply {
	c.t.Helper()
	var headers []string
	if body != "" {
		headers = []string{"Content-Type: application/json"}
	}
	r := c.do(http.MethodPost, path, body, headers...)
	if r.code != code {
		c.t.Fatalf("POST %s: %d, want %d: %s", path, r.code, code, r.body)
	}
	return r
}

// read decodes an answer of 200.
func read[T any](c caller, path string) T {
	c.t.Helper()
	var into T
	r := c.get(path)
	if r.code != http.StatusOK {
		c.t.Fatalf("GET %s: %d %s", path, r.code, r.body)
	}
	if err := json.Unmarshal([]byte(r.body), &into); err != nil {
		c.t.Fatalf("GET %s: %v in %s", path, err, r.body)
	}
	return into
}

// problem checks that an answer is an error of a status whose text has some words.
func (r reply) problem(t testing.TB, code int, words ...string) {
	t.Helper()
	var p struct {
		Title, Detail string
		Status        int
	}
	if err := json.Unmarshal([]byte(r.body), &p); err != nil || r.header.Get("Content-Type") != "application/problem+json" || p.Status != r.code || p.Title == "" {
		t.Fatalf("%d %s is no problem document: %s", r.code, r.header.Get("Content-Type"), r.body)
	}
	if r.code != code {
		t.Errorf("%d, want %d: %s", r.code, code, r.body)
	}
	for _, w := range words {
		if !strings.Contains(p.Detail, w) {
			t.Errorf("%q does not say %q", p.Detail, w)
		}
	}
}

// serviceAccount makes an account, and returns a token of it.
func serviceAccount(t testing.TB, ns, name string) string {
	t.Helper()
	clients, err := kubernetes.NewForConfig(testCluster.Config)
	if err != nil {
		t.Fatal(err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
	if err := testCluster.client.Create(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	token, err := clients.CoreV1().ServiceAccounts(ns).CreateToken(t.Context(), name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return token.Status.Token
}

// grant is what a Role says of hooks, or of hooks/deliveries; hooks restricts it to Hooks of these names.
func grant(resource string, verbs []string, hooks ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{"kagent.dev"}, Resources: []string{resource}, Verbs: verbs, ResourceNames: hooks}
}

var readsHooks = []rbacv1.PolicyRule{grant("hooks", []string{"list"}), grant("hooks/deliveries", []string{"get"})}

// newReader is an account that may list Hooks in its namespace, and read what their deliveries say.
func newReader(t testing.TB, ns string) string {
	t.Helper()
	token := serviceAccount(t, ns, "reader")
	subject := []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: ns, Name: "reader"}}
	meta := metav1.ObjectMeta{Namespace: ns, Name: "reader"}
	err := errors.Join(
		testCluster.client.Create(t.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: readsHooks}),
		testCluster.client.Create(t.Context(), &rbacv1.RoleBinding{ObjectMeta: meta, Subjects: subject, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"}}))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// allReader is an account that may read everything in all namespaces.
func allReader(t testing.TB, ns string) string {
	t.Helper()
	return serviceAccountWith(t, ns, "all-reader", readsHooks...)
}

// served is a running khook with the history of real failures in two namespaces.
type served struct {
	*process
	caller              // may read everything
	shop, pay    string // namespaces
	kagent       *kagenttest.Server
	began        time.Time
	oom, crashed *corev1.Pod
}

// as is the API as another caller sees it.
func (s *served) as(token string) caller { return caller{s.process.t, s.base, token} }

// serve starts khook and lets Pods fail: in shop, cart is OOM-killed twice and goes on to fail, and
// web crashed once and was deleted; in pay, one Pod of till crashed. Hook memory in shop calls for
// OOM kills and restarts, hook till in pay for restarts.
func serve(t *testing.T, args ...string) *served {
	t.Helper()
	s := &served{shop: namespace(t), pay: namespace(t), began: time.Now()}
	s.kagent = kagenttest.New(t, kagenttest.Options{Agents: []delivery.AgentRef{{Namespace: "kagent", Name: "medic"}}, Script: func(kagenttest.Message) kagenttest.Act {
		return kagenttest.Act{Answer: "raise the memory limit"}
	}})
	applyHook(t, s.shop, "memory", incident.OOMKill, incident.PodRestart)
	applyHook(t, s.pay, "till", incident.PodRestart)
	s.process = controller(t, append([]string{
		"--kagent-url", s.kagent.URL, "--database", filepath.Join(t.TempDir(), "khook.db"), "--stabilization", "1h",
		"--api-rate-limit", "1000", "--api-rate-burst", "1000",
	}, args...)...).ready()
	s.caller = caller{t, "http://" + s.api + api.Base, allReader(t, s.shop)}
	s.oom = newPod(t, s.shop, "cart", "cart-abc-1")
	becomes(t, s.oom, 1, "OOMKilled")
	becomes(t, s.oom, 2, "OOMKilled")
	s.crashed = newPod(t, s.shop, "web", "web-abc-1")
	becomes(t, s.crashed, 1, "Error")
	becomes(t, newPod(t, s.pay, "till", "till-abc-1"), 1, "Error")
	s.awaitEvents(map[string]int{"cart-abc-1": 4, "web-abc-1": 1, "till-abc-1": 1})
	if err := testCluster.client.Delete(t.Context(), s.crashed, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the deliveries are over, and the deleted Pod's incident has ended", func() error {
		done := read[api.Page[api.Delivery]](s.caller, "/deliveries?state=succeeded")
		gone := read[api.Page[api.Incident]](s.caller, "/incidents?status=resolved&namespace="+s.shop)
		if done.Total != 3 || gone.Total != 1 {
			return fmt.Errorf("%d deliveries, %d ended", done.Total, gone.Total)
		}
		return nil
	})
	return s
}

func (s *served) awaitEvents(want map[string]int) {
	s.process.t.Helper()
	eventually(s.process.t, "the failures are recorded", func() error {
		got := map[string]int{}
		for _, ns := range []string{s.shop, s.pay} {
			for _, e := range read[api.Page[api.Event]](s.caller, "/events/"+ns).Items {
				got[e.ResourceName]++
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("%v, want %v", got, want)
		}
		return nil
	})
}

// queryOf encodes parameters.
func queryOf(pairs ...string) string {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return "?" + v.Encode()
}

// summaries tell a page in a line for each event.
func summaries(p api.Page[api.Event]) []string {
	var lines []string
	for _, e := range p.Items {
		lines = append(lines, fmt.Sprintf("%s %s %s", e.EventType, e.ResourceName, e.Status))
	}
	return lines
}

// serviceAccountWith makes an account with some rights in the whole cluster.
func serviceAccountWith(t testing.TB, ns, name string, rules ...rbacv1.PolicyRule) string {
	t.Helper()
	token := serviceAccount(t, ns, name)
	meta := metav1.ObjectMeta{Name: name + "-" + ns}
	role := &rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules}
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: meta, Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: ns, Name: name}},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: meta.Name}}
	if err := errors.Join(testCluster.client.Create(t.Context(), role), testCluster.client.Create(t.Context(), binding)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = testCluster.client.Delete(context.Background(), role)
		_ = testCluster.client.Delete(context.Background(), binding)
	})
	return token
}

// grantLease lets khook elect a leader in a namespace.
func grantLease(t testing.TB, ns string) {
	t.Helper()
	meta := metav1.ObjectMeta{Namespace: ns, Name: "khook"}
	err := errors.Join(
		testCluster.client.Create(t.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"get", "create", "update"}},
			{APIGroups: []string{""}, Resources: []string{"events"}, Verbs: []string{"create", "patch"}},
		}}),
		testCluster.client.Create(t.Context(), &rbacv1.RoleBinding{ObjectMeta: meta, Subjects: []rbacv1.Subject{{Kind: "User", Name: "khook", APIGroup: rbacv1.GroupName}},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "khook"}}))
	if err != nil {
		t.Fatal(err)
	}
}

func keyOf(ns, name string) client.ObjectKey { return client.ObjectKey{Namespace: ns, Name: name} }

// adminKubeconfig is the file of somebody who may do everything.
func adminKubeconfig(t testing.TB) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "admin.kubeconfig")
	if err := os.WriteFile(file, testCluster.KubeConfig, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// removeAll deletes what is in a folder.
func removeAll(t testing.TB, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
}
