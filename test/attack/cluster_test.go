//go:build attack

package attack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/kubetest"
)

// The namespaces.
const (
	shop  = "shop"  // where Pods fail and valid users read
	pay   = "pay"   // of others, whose texts and IDs are foreign to the users of shop
	quiet = "quiet" // where nothing happens
	enemy = "enemy" // of the attackers
	crowd = "crowd" // of many accounts that may read in shop and in quiet
)

// site is all that the attacks are about: a cluster, kagent, and the khook that is attacked.
type site struct {
	*kubetest.Env
	client     client.Client
	tokens     *kubernetes.Clientset
	gateway    *gateway
	kagent     *kagent
	bounds     *bounds
	kubeconfig string // of khook, with exactly the rights that it is given, by way of the gateway
	dir        string // of the history
	judge      string // token of an account that may read everything
	nobody     string // token of an account without rights

	deaths atomic.Int64

	mu    sync.Mutex
	khook *khook
	death string // of the last khook that died
	peak  int64  // memory since forgetPeak, in bytes

	failed atomic.Int64 // Pods, to name them
}

func newSite(t *testing.T) *site {
	env, err := kubetest.Start(filepath.Join("..", "..", "config", "crd"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(env.Stop)
	s := &site{Env: env, bounds: newBounds(t), kagent: newKagent(t), dir: t.TempDir()}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha2.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	if s.client, err = client.New(env.Config, client.Options{Scheme: scheme}); err != nil {
		t.Fatal(err)
	}
	if s.tokens, err = kubernetes.NewForConfig(env.Config); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{shop, pay, quiet, enemy, crowd, "kagent"} {
		s.create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	s.letIn(t)
	s.judge = s.account(t, enemy, "judge")
	s.grant(t, "judge", "", reads, rbacv1.Subject{Kind: "ServiceAccount", Namespace: enemy, Name: "judge"})
	s.nobody = s.account(t, enemy, "nobody")
	everybody := rbacv1.Subject{Kind: "Group", APIGroup: rbacv1.GroupName, Name: "system:serviceaccounts:" + crowd}
	s.grant(t, "crowd", shop, reads, everybody)
	s.grant(t, "crowd", quiet, reads, everybody)
	s.hook(t, shop, "shop", "medic", string(podRestart))
	s.hook(t, pay, "pay", "medic", string(podRestart))
	s.begin(t)
	t.Cleanup(func() { s.khook.stop() })
	return s
}

const podRestart = "pod-restart"

// reads is the right to read what happened.
var reads = []rbacv1.PolicyRule{{APIGroups: []string{"kagent.dev"}, Resources: []string{"hooks"}, Verbs: []string{"list"}}}

// letIn makes khook's user, with the role that is generated for khook, and its way to the API server.
func (s *site) letIn(t *testing.T) {
	user, err := s.AddUser(envtest.User{Name: "khook"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.gateway = newGateway(t, user.Config())
	s.kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c}}], clusters: [{name: c, cluster: {server: %q}}]}", s.gateway.URL)
	if err := os.WriteFile(s.kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	role, err := os.ReadFile(filepath.Join("..", "..", "config", "rbac", "role.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	subject := rbacv1.Subject{Kind: "User", APIGroup: rbacv1.GroupName, Name: "khook"}
	for doc := range strings.SplitSeq(string(role), "---\n") {
		var r rbacv1.Role // a ClusterRole has the same fields
		if err := yaml.Unmarshal([]byte(doc), &r); err != nil {
			t.Fatal(err)
		}
		if r.Name != "" {
			s.grant(t, r.Name, r.Namespace, r.Rules, subject)
		}
	}
}

// grant gives a subject rights in a namespace, or in all if it is empty.
func (s *site) grant(t testing.TB, name, ns string, rules []rbacv1.PolicyRule, subject rbacv1.Subject) {
	t.Helper()
	meta := metav1.ObjectMeta{Namespace: ns, Name: name}
	if ns == "" {
		s.create(t, &rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules})
		s.create(t, &rbacv1.ClusterRoleBinding{ObjectMeta: meta, Subjects: []rbacv1.Subject{subject}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}})
		return
	}
	s.create(t, &rbacv1.Role{ObjectMeta: meta, Rules: rules})
	s.create(t, &rbacv1.RoleBinding{ObjectMeta: meta, Subjects: []rbacv1.Subject{subject}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name}})
}

func (s *site) create(t testing.TB, obj client.Object) {
	t.Helper()
	if err := s.client.Create(t.Context(), obj); err != nil {
		t.Fatalf("create %T %s: %v", obj, obj.GetName(), err)
	}
}

// account makes a service account, and returns a token of it.
func (s *site) account(t testing.TB, ns, name string) string {
	t.Helper()
	s.create(t, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}})
	token, err := s.token(t.Context(), ns, name)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// token returns a new token of an account, which khook can't have seen.
func (s *site) token(ctx context.Context, ns, name string) (string, error) {
	got, err := s.tokens.CoreV1().ServiceAccounts(ns).CreateToken(ctx, name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return got.Status.Token, nil
}

// readers makes accounts that may read in shop and in quiet, and returns their tokens.
func (a *assault) readers(prefix string, n int) []string {
	tokens := make([]string, n)
	for i := range tokens {
		tokens[i] = a.account(a, crowd, fmt.Sprintf("%s-%d", prefix, i))
	}
	return tokens
}

// hook applies a Hook that calls an agent of kagent for restarts.
func (s *site) hook(t testing.TB, ns, name, agent, eventType string) *v1alpha2.Hook {
	t.Helper()
	id := "kagent/" + agent
	h := &v1alpha2.Hook{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: v1alpha2.HookSpec{
		EventConfigurations: []v1alpha2.EventConfiguration{{EventType: eventType, AgentId: &id, Prompt: "the secret prompt of " + ns + ": {{.EventMessage}}"}}}}
	s.create(t, h)
	return h
}
