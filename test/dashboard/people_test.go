package dashboard

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// prefix is the path below which the proxy of the tests shows khook.
const prefix = "/ops/khook"

// authenticatingProxy shows khook to somebody who may do everything, as oauth2-proxy and its like do: below a path of its
// own, and with a token that never enters the browser.
func authenticatingProxy(t testing.TB, target string) string {
	t.Helper()
	token := account(t, "admin", rbacv1.PolicyRule{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}}, rbacv1.PolicyRule{NonResourceURLs: []string{"*"}, Verbs: []string{"*"}})
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(&httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.URL.Path = strings.TrimPrefix(r.In.URL.Path, prefix)
		r.Out.Header.Set("Authorization", "Bearer "+token)
	}, ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }})
	t.Cleanup(func() {
		proxy.CloseClientConnections()
		proxy.Close()
	})
	return proxy.URL
}

// account is a token of an account of namespace shop that may do some things everywhere; it stays until the tests end.
func account(t testing.TB, name string, rules ...rbacv1.PolicyRule) string {
	t.Helper()
	clients, err := kubernetes.NewForConfig(testCluster.Config)
	if err != nil {
		t.Fatal(err)
	}
	meta := metav1.ObjectMeta{Name: "dashboard-" + name}
	for _, err := range []error{
		testCluster.client.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: shop, Name: name}}),
		testCluster.client.Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules}),
		testCluster.client.Create(t.Context(), &rbacv1.ClusterRoleBinding{
			ObjectMeta: meta, Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: shop, Name: name}}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: meta.Name},
		}),
	} {
		if err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
	token, err := clients.CoreV1().ServiceAccounts(shop).CreateToken(t.Context(), name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return token.Status.Token
}

// viewer is a token of somebody who may read, and do nothing.
func viewer(t testing.TB) string {
	return account(t, "viewer", rbacv1.PolicyRule{APIGroups: []string{"kagent.dev"}, Resources: []string{"hooks"}, Verbs: []string{"list"}},
		rbacv1.PolicyRule{APIGroups: []string{"kagent.dev"}, Resources: []string{"hooks/deliveries"}, Verbs: []string{"get"}})
}
