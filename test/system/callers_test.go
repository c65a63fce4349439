package system

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kagent-dev/khook/internal/access"
	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/api"
)

func TestSettingsAboutCallersThatCannotWorkAreRefused(t *testing.T) {
	for says, args := range map[string][]string{
		"can't be used with --api-auth=caller":   {"--api-auth=caller", "--api-audiences=khook"},
		"of no use with --api-auth=none":         {"--api-auth=none", "--api-audiences=khook"},
		`--trusted-proxies has "ingress"`:        {"--trusted-proxies=10.0.0.0/8,ingress"},
		`--allowed-hosts has "khook.example:80"`: {"--allowed-hosts=khook.example:80"},
		`--allowed-hosts has "http://khook"`:     {"--allowed-hosts=http://khook"},
	} {
		if code, _, errs := runCLI(t, append([]string{"controller", "--kubeconfig=/nowhere"}, args...)...); code == 0 || !strings.Contains(errs, says) {
			t.Errorf("%v: %d %s", args, code, errs)
		}
	}
	for _, args := range [][]string{{"--trusted-proxies=10.0.0.0/8,192.0.2.1,fd00::/8"}, {"--api-auth=none", "--allowed-hosts=khook.example.com,Dash.example."}, {"--api-audiences=khook,vault"}} {
		if _, _, errs := runCLI(t, append([]string{"controller", "--kubeconfig=/nowhere"}, args...)...); !strings.Contains(errs, "find a cluster") {
			t.Errorf("%v: %s", args, errs)
		}
	}
}

// tokenFor makes a token of an account for some audiences.
func tokenFor(t *testing.T, ns, account string, audiences ...string) string {
	t.Helper()
	clients, err := kubernetes.NewForConfig(testCluster.Config)
	if err != nil {
		t.Fatal(err)
	}
	made, err := clients.CoreV1().ServiceAccounts(ns).CreateToken(t.Context(), account, &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return made.Status.Token
}

func TestTheCLITakesATokenThatIsForKhookOnly(t *testing.T) {
	ns := namespace(t)
	kagent := kagenttest.New(t, kagenttest.Options{})
	general := newReader(t, ns)
	narrow := tokenFor(t, ns, "reader", access.Audience)
	for _, args := range [][]string{nil, {"--api-audiences", access.Audience}} {
		p := controller(t, append(settings(kagent, t.TempDir()), args...)...).ready()
		if code, _, errs := runCLI(t, "events", "-n", ns, "--server", "http://"+p.api, "--token", narrow); code != 0 {
			t.Errorf("%v: a token for khook: %d %s", args, code, errs)
		}
		code, _, errs := runCLI(t, "events", "-n", ns, "--server", "http://"+p.api, "--token", general)
		if only := args != nil; only != (code != 0) || only && !strings.Contains(errs, "audience khook") {
			t.Errorf("%v: a token for the API server: %d %s", args, code, errs)
		}
		p.kill()
	}
}

// TestAFloodOfTokensKeepsNobodyOutOfARunningKhook is the attack as it was made: random and forged tokens
// from the address of the valid callers, for as long as those have something to ask.
func TestAFloodOfTokensKeepsNobodyOutOfARunningKhook(t *testing.T) {
	ns := namespace(t)
	kagent := kagenttest.New(t, kagenttest.Options{})
	known := newReader(t, ns)
	for _, auth := range []string{"kubernetes", "caller"} {
		p := controller(t, append(settings(kagent, t.TempDir()), "--api-auth", auth, "--api-rate-limit", "1000", "--api-rate-burst", "1000", "--log-level", "warn")...).ready()
		base := "http://" + p.api + api.Base
		path := "/events/" + ns + "?limit=1"
		c := caller{t, base, known}
		if r := c.get(path); r.code != http.StatusOK {
			t.Fatalf("before: %d %s", r.code, r.body)
		}
		over, end := context.WithCancel(t.Context())
		var flood sync.WaitGroup
		var sent, answered atomic.Int64
		for i := range 64 {
			flood.Go(func() {
				for n := 0; over.Err() == nil; n++ {
					token := fmt.Sprintf("random-%d-%d", i, n)
					if n%2 == 0 {
						token = known[:len(known)-20] + fmt.Sprintf("%020d", i*1_000_000+n)
					}
					patience, leave := context.WithTimeout(over, 300*time.Millisecond) // who floods does not wait
					req, _ := http.NewRequestWithContext(patience, http.MethodGet, base+path, nil)
					req.Header.Set("Authorization", "Bearer "+token)
					if resp, err := http.DefaultClient.Do(req); err == nil {
						_ = resp.Body.Close()
						if answered.Add(1); resp.StatusCode == http.StatusOK {
							t.Error("a forged token was let in")
						}
					}
					sent.Add(1)
					leave()
				}
			})
		}
		for range 200 {
			if r := c.get(path); r.code != http.StatusOK {
				t.Errorf("%s: a known caller: %d %s", auth, r.code, r.body)
			}
		}
		for i := range 5 {
			account := fmt.Sprintf("%s-new-%d", auth, i)
			if r := (caller{t, base, serviceAccount(t, ns, account)}).get("/openapi.json"); r.code != http.StatusOK {
				t.Errorf("%s: a new caller: %d %s", auth, r.code, r.body)
			}
			if r := c.get(path); r.code != http.StatusOK {
				t.Errorf("%s: a known caller: %d %s", auth, r.code, r.body)
			}
		}
		end()
		flood.Wait()
		t.Logf("%s: %d bad tokens were sent meanwhile, of which %d were answered", auth, sent.Load(), answered.Load())
		p.kill()
	}
}
