package server

import (
	"net/http"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func access(t *testing.T, cfg *rest.Config) Access {
	t.Helper()
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	a, err := KubernetesAccess(client)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestWithoutTheAPIServerNobodyIsTakenForAStranger(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Access = access(t, &rest.Config{Host: "https://127.0.0.1:1"}) })
	w := ask(f.Server, http.MethodGet, Base+"/events", "", "Authorization", "Bearer x")
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || w.Header().Get("Content-Type") != problemType {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := ask(f.Server, http.MethodGet, Base+"/events", ""); w.Code != http.StatusUnauthorized {
		t.Errorf("without a token: %d %s", w.Code, w.Body)
	}
	if w := ask(f.Server, http.MethodGet, Base+"/health", ""); w.Code != http.StatusOK {
		t.Errorf("health: %d %s", w.Code, w.Body)
	}
}

func TestTokensThatAreNoneAreRefused(t *testing.T) {
	client, err := kubernetes.NewForConfig(world.Config)
	if err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, func(c *Config) { c.Access = access(t, world.Config) })
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
	if w := ask(f.Server, http.MethodGet, Base+"/openapi.json", "", "Authorization", "Bearer "+good); w.Code != http.StatusOK {
		t.Errorf("a good one: %d %s", w.Code, w.Body)
	}
	if w := ask(f.Server, http.MethodGet, Base+"/events", "", "Authorization", "Bearer "+good); w.Code != http.StatusForbidden {
		t.Errorf("a good one without rights: %d %s", w.Code, w.Body)
	}
	if err := client.CoreV1().ServiceAccounts(shop).Delete(t.Context(), account.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for what, header := range map[string]string{
		"of another audience": "Bearer " + elsewhere, "of an account that was deleted": "Bearer " + deleted, "a made-up one": "Bearer a.b.c", "an empty one": "Bearer ",
		"another scheme": "Basic YTpi", "a long one": "Bearer " + strings.Repeat("x", 20_000), "with odd characters": "Bearer \x7fé",
	} {
		if w := ask(f.Server, http.MethodGet, Base+"/openapi.json", "", "Authorization", header); w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %d %s", what, w.Code, w.Body)
		}
	}
}
