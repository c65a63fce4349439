package server

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kagent-dev/khook/internal/access"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
)

// eachAccess runs a test with each way of asking Kubernetes.
func eachAccess(t *testing.T, cfg *rest.Config, test func(*testing.T, access.Control)) {
	t.Helper()
	reviews, err := access.New(cfg, access.Config{})
	if err != nil {
		t.Fatal(err)
	}
	caller, err := access.NewAsCaller(cfg, access.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Run("kubernetes", func(t *testing.T) { test(t, reviews) })
	t.Run("caller", func(t *testing.T) { test(t, caller) })
}

func TestWithoutTheAPIServerNobodyIsTakenForAStranger(t *testing.T) {
	eachAccess(t, &rest.Config{Host: "https://127.0.0.1:1"}, nobodyIsAStranger)
}

func nobodyIsAStranger(t *testing.T, a access.Control) {
	f := newFixture(t, func(c *Config) { c.Access = a })
	w := askServer(f.Server, http.MethodGet, api.Base+"/events", "", "Authorization", "Bearer x")
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || w.Header().Get("Content-Type") != problemType {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := askServer(f.Server, http.MethodGet, api.Base+"/events", ""); w.Code != http.StatusUnauthorized {
		t.Errorf("without a token: %d %s", w.Code, w.Body)
	}
	if w := askServer(f.Server, http.MethodGet, api.Base+"/health", ""); w.Code != http.StatusOK {
		t.Errorf("health: %d %s", w.Code, w.Body)
	}
}

func TestTokensThatAreNoneAreRefused(t *testing.T) {
	eachAccess(t, testServer.Config, badTokensAreRefused)
}

func badTokensAreRefused(t *testing.T, a access.Control) {
	client, err := kubernetes.NewForConfig(testServer.Config)
	if err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, func(c *Config) { c.Access = a })
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: shop, GenerateName: "gone-"}}
	if account, err = client.CoreV1().ServiceAccounts(shop).Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	token := func(audiences ...string) string {
		t.Helper()
		made, err := client.CoreV1().ServiceAccounts(shop).CreateToken(t.Context(), account.Name, &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return made.Status.Token
	}
	good, elsewhere, deleted := token(), token("vault"), token()
	if w := askServer(f.Server, http.MethodGet, api.Base+"/openapi.json", "", "Authorization", "Bearer "+good); w.Code != http.StatusOK {
		t.Errorf("a good one: %d %s", w.Code, w.Body)
	}
	if w := askServer(f.Server, http.MethodGet, api.Base+"/events", "", "Authorization", "Bearer "+good); w.Code != http.StatusForbidden {
		t.Errorf("a good one without rights: %d %s", w.Code, w.Body)
	}
	// As it comes through the API server's proxy.
	for header, code := range map[string]int{good: http.StatusOK, elsewhere: http.StatusUnauthorized, "Bearer " + good: http.StatusUnauthorized} {
		if w := askServer(f.Server, http.MethodGet, api.Base+"/openapi.json", "", api.TokenHeader, header); w.Code != code {
			t.Errorf("in %s: %d %s, want %d", api.TokenHeader, w.Code, w.Body, code)
		}
	}
	if w := askServer(f.Server, http.MethodGet, api.Base+"/openapi.json", "", api.TokenHeader, good, "Authorization", "Bearer a.b.c"); w.Code != http.StatusUnauthorized {
		t.Errorf("two tokens: %d %s", w.Code, w.Body)
	}
	if err := client.CoreV1().ServiceAccounts(shop).Delete(t.Context(), account.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for what, header := range map[string]string{
		"of another audience": "Bearer " + elsewhere, "of an account that was deleted": "Bearer " + deleted, "a made-up one": "Bearer a.b.c", "an empty one": "Bearer ",
		"another scheme": "Basic YTpi", "a long one": "Bearer " + strings.Repeat("x", 20_000), "with odd characters": "Bearer \x7fé",
	} {
		if w := askServer(f.Server, http.MethodGet, api.Base+"/openapi.json", "", "Authorization", header); w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %d %s", what, w.Code, w.Body)
		}
	}
}

func TestBothWaysOfAskingKubernetesGiveTheSameAnswers(t *testing.T) {
	client, err := kubernetes.NewForConfig(testServer.Config)
	if err != nil {
		t.Fatal(err)
	}
	token := accountThatReads(t, client, shop)
	answers := map[string]string{}
	eachAccess(t, testServer.Config, func(t *testing.T, a access.Control) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		for range 2 { // the second time from memory
			caller, err := a.Authenticate(r, "")
			if err != nil {
				t.Fatal(err)
			}
			here, err1 := a.May(t.Context(), caller, access.ReadHooks(shop))
			there, err2 := a.May(t.Context(), caller, access.ReadHooks("elsewhere"))
			all, err3 := a.May(t.Context(), caller, access.ReadHooks(""))
			change, err4 := a.May(t.Context(), caller, access.ActOn(delivery.HookRef{Namespace: shop, Name: "x"}))
			path, err5 := a.May(t.Context(), caller, access.GetPath("/diagnostics"))
			open, err6 := a.May(t.Context(), caller, access.GetPath("/version"))
			texts, err7 := a.May(t.Context(), caller, access.ReadTexts(delivery.HookRef{Namespace: shop, Name: "memory"}))
			other, err8 := a.May(t.Context(), caller, access.ReadTexts(delivery.HookRef{Namespace: shop, Name: "other"}))
			if err := errors.Join(err1, err2, err3, err4, err5, err6, err7, err8); err != nil {
				t.Fatal(err)
			}
			answers[t.Name()] = fmt.Sprintln(strings.HasPrefix(caller.GetName(), "system:serviceaccount:"+shop+":"), here, there, all, change, path, open, texts, other)
			if want := fmt.Sprintln(true, true, false, false, false, false, true, true, false); answers[t.Name()] != want {
				t.Errorf("%s, not %s", answers[t.Name()], want)
			}
		}
	})
	if len(answers) != 2 {
		t.Errorf("%d ways were asked", len(answers))
	}
}

// accountThatReads makes an account that may list the Hooks of a namespace, and read what the deliveries of
// Hook memory say, and returns its token.
func accountThatReads(t *testing.T, client *kubernetes.Clientset, ns string) string {
	t.Helper()
	account, err := client.CoreV1().ServiceAccounts(ns).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{GenerateName: "reads-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	meta := metav1.ObjectMeta{Name: account.Name}
	_, err1 := client.RbacV1().Roles(ns).Create(t.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{"kagent.dev"}, Resources: []string{"hooks"}, Verbs: []string{"list"}},
		{APIGroups: []string{"kagent.dev"}, Resources: []string{"hooks/deliveries"}, ResourceNames: []string{"memory"}, Verbs: []string{"get"}}}}, metav1.CreateOptions{})
	_, err2 := client.RbacV1().RoleBindings(ns).Create(t.Context(), &rbacv1.RoleBinding{ObjectMeta: meta,
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: ns, Name: account.Name}},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: account.Name}}, metav1.CreateOptions{})
	made, err3 := client.CoreV1().ServiceAccounts(ns).CreateToken(t.Context(), account.Name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	return made.Status.Token
}
