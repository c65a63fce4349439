package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kagent-dev/khook/internal/access"
	"github.com/kagent-dev/khook/internal/api"
)

// hostile is an API server that answers reviews, and counts them. It knows the tokens that begin with
// "good", whose owner may do everything, until it is broken.
type hostile struct {
	*httptest.Server
	broken atomic.Pointer[http.HandlerFunc]
	names  []string // the audiences that it names; none, as one that knows of none
	lies   bool     // it says yes whatever the audience

	mu    sync.Mutex
	asked map[string]int // by resource
}

func newHostile(t *testing.T) *hostile {
	h := &hostile{asked: map[string]int{}}
	h.Server = httptest.NewServer(http.HandlerFunc(h.answer))
	t.Cleanup(h.Close)
	return h
}

func (h *hostile) count(resource string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.asked[resource]
}

func (h *hostile) answer(w http.ResponseWriter, r *http.Request) {
	resource := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	h.mu.Lock()
	h.asked[resource]++
	h.mu.Unlock()
	if broken := h.broken.Load(); broken != nil {
		(*broken)(w, r)
		return
	}
	body, _ := io.ReadAll(r.Body)
	var answer any
	ann := authenticationv1.UserInfo{Username: "ann"}
	switch resource {
	case "tokenreviews":
		var review authenticationv1.TokenReview
		_ = json.Unmarshal(body, &review)
		review.Status = authenticationv1.TokenReviewStatus{Authenticated: strings.HasPrefix(review.Spec.Token, "good") && (len(review.Spec.Audiences) == 0 || h.lies), User: ann, Audiences: h.names}
		answer = review
	case "selfsubjectreviews":
		if r.Header.Get("Authorization") != "Bearer good" {
			writeStatus(w, http.StatusUnauthorized, metav1.StatusReasonUnauthorized)
			return
		}
		answer = authenticationv1.SelfSubjectReview{Status: authenticationv1.SelfSubjectReviewStatus{UserInfo: ann}}
	case "subjectaccessreviews":
		answer = authorizationv1.SubjectAccessReview{Status: authorizationv1.SubjectAccessReviewStatus{Allowed: true}}
	case "selfsubjectaccessreviews":
		answer = authorizationv1.SelfSubjectAccessReview{Status: authorizationv1.SubjectAccessReviewStatus{Allowed: true}}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(answer)
}

func writeStatus(w http.ResponseWriter, code int, reason metav1.StatusReason) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Code: int32(code), Reason: reason})
}

// breaks are the ways in which an API server can fail that answers at once.
var breaks = map[string]http.HandlerFunc{
	"throttles": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "1")
		writeStatus(w, http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests)
	},
	"fails": func(w http.ResponseWriter, _ *http.Request) {
		writeStatus(w, http.StatusInternalServerError, metav1.StatusReasonInternalError)
	},
	"forbids it": func(w http.ResponseWriter, _ *http.Request) {
		writeStatus(w, http.StatusForbidden, metav1.StatusReasonForbidden)
	},
	"says nothing": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) },
	"is a proxy's page": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusBadGateway)
		_, _ = io.WriteString(w, "<html>bad gateway</html>")
	},
	"hangs up": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
}

func TestAHostileAPIServerMakesNobodyAStranger(t *testing.T) {
	for name, handler := range breaks {
		t.Run(name, func(t *testing.T) {
			h := newHostile(t)
			eachAccess(t, &rest.Config{Host: h.URL}, func(t *testing.T, a access.Control) {
				t.Parallel()
				f := newFixture(t, func(c *Config) { c.Access = a })
				h.broken.Store(&handler)
				w := askServer(f.Server, http.MethodGet, api.Base+"/events", "", "Authorization", "Bearer good")
				if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
					t.Errorf("%d %s", w.Code, w.Body)
				}
			})
		})
	}
}

func TestACallerAsksAboutSoManyRightsOnly(t *testing.T) {
	h := newHostile(t)
	eachAccess(t, &rest.Config{Host: h.URL}, func(t *testing.T, a access.Control) {
		f := newFixture(t, func(c *Config) { c.Access = a })
		before := h.count("subjectaccessreviews") + h.count("selfsubjectaccessreviews")
		codes := map[int]int{}
		for i := range 400 {
			codes[askServer(f.Server, http.MethodGet, fmt.Sprintf("%s/events?namespace=ns-%d&limit=1", api.Base, i), "", "Authorization", "Bearer good").Code]++
		}
		asked := h.count("subjectaccessreviews") + h.count("selfsubjectaccessreviews") - before
		if asked != codes[http.StatusOK] || codes[http.StatusTooManyRequests] != 400-asked || asked < 100 || codes[http.StatusTooManyRequests] == 0 {
			t.Errorf("%d reviews; answers %v", asked, codes)
		}
	})
}

func TestWhatAWebSocketAsksForCountsAgainstItsCaller(t *testing.T) {
	d := &countingDoorman{}
	d.open.Store(true)
	l := goLive(t, func(c *Config) { c.Access, c.Limits.Rate, c.Limits.Burst = d, 1e-6, 10 })
	c := l.ws("?namespace=shop", &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer t0ken"}}})
	c.wants("ready")
	counts := map[string]int{}
	for i := range 30 {
		c.says(fmt.Sprintf(`{"type":"filter","namespace":"ns-%d"}`, i))
		m, err := c.next()
		if err != nil {
			t.Fatal(err)
		}
		if counts[m.Type]++; m.Type == "error" && !strings.Contains(m.Reason, "too many messages: wait") {
			t.Errorf("%+v", m)
		}
	}
	if counts["filter"] != 9 || counts["error"] != 21 || d.asked.Load() != 10 {
		t.Errorf("%v, and the right was asked for %d times", counts, d.asked.Load())
	}
}

// countingDoorman counts how often it is asked for a right.
type countingDoorman struct {
	doorman
	asked atomic.Int32
}

func (d *countingDoorman) May(ctx context.Context, c access.Caller, r access.Right) (bool, error) {
	d.asked.Add(1)
	return d.doorman.May(ctx, c, r)
}

// unsure is a doorman who at times can't find out.
type unsure struct {
	doorman
	fails error
	who   bool // whether also who calls can't be found out
}

func (u *unsure) Authenticate(r *http.Request, address string) (access.Caller, error) {
	if u.who && u.fails != nil {
		return nil, u.fails
	}
	return u.doorman.Authenticate(r, address)
}

func (u *unsure) May(ctx context.Context, c access.Caller, r access.Right) (bool, error) {
	if u.fails != nil {
		return false, u.fails
	}
	return u.doorman.May(ctx, c, r)
}

func TestAStreamIsToldApartWhoMayNotReadAndWhoCouldNotBeAskedAbout(t *testing.T) {
	refused := errors.New("connection refused")
	for _, c := range []struct {
		fails   error
		who     bool
		open    bool
		may     bool
		because error
	}{
		{nil, false, true, true, nil},
		{nil, false, false, false, nil},
		{refused, false, true, false, refused},
		{refused, true, true, false, refused},
		{access.ErrUnknownCaller, true, true, false, nil},
	} {
		u := &unsure{fails: c.fails, who: c.who}
		u.open.Store(c.open)
		f := newFixture(t, func(cfg *Config) { cfg.Access = u })
		r := httptest.NewRequest(http.MethodGet, streamPath, nil)
		r.Header.Set("Authorization", "Bearer t0ken")
		may, err := (&streamCaller{f.Server, r, f.ownView()}).MayRead(t.Context(), shop)
		if may != c.may || !errors.Is(err, c.because) {
			t.Errorf("%+v: %v %v", c, may, err)
		}
	}
}

func TestTokensAreTakenForTheAudiencesThatAreAllowed(t *testing.T) {
	client, err := kubernetes.NewForConfig(testServer.Config)
	if err != nil {
		t.Fatal(err)
	}
	newFixture(t) // and with it the namespace
	account, err := client.CoreV1().ServiceAccounts(shop).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{GenerateName: "audience-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	token := func(audiences ...string) string {
		made, err := client.CoreV1().ServiceAccounts(shop).CreateToken(t.Context(), account.Name, &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return made.Status.Token
	}
	tokens := map[string]string{"the API server's": token(), "khook's": token(access.Audience), "another's": token("vault"), "khook's and another's": token("vault", access.Audience)}
	for _, c := range []struct {
		audiences []string
		want      []string
	}{
		{nil, []string{"khook's", "khook's and another's", "the API server's"}},
		{[]string{access.Audience}, []string{"khook's", "khook's and another's"}},
		{[]string{"vault", "other"}, []string{"another's", "khook's and another's"}},
	} {
		a, err := access.New(testServer.Config, access.Config{Audiences: c.audiences})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for of, token := range tokens {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Header.Set("Authorization", "Bearer "+token)
			switch _, err := a.Authenticate(r, ""); {
			case err == nil:
				got = append(got, of)
			case !errors.Is(err, access.ErrUnknownCaller):
				t.Error(err)
			}
		}
		if slices.Sort(got); !slices.Equal(got, c.want) {
			t.Errorf("audiences %q: those of %q are taken, want %q", c.audiences, got, c.want)
		}
	}
}

func TestAnAPIServerThatKnowsNoAudiencesLetsNobodyInForOneOfThem(t *testing.T) {
	h := newHostile(t)
	h.lies = true
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer good")
	for _, named := range [][]string{nil, {"https://kubernetes.default.svc"}, {"khook"}} {
		h.names = named
		for _, audiences := range [][]string{nil, {access.Audience}} {
			a, err := access.New(&rest.Config{Host: h.URL}, access.Config{Audiences: audiences})
			if err != nil {
				t.Fatal(err)
			}
			_, err = a.Authenticate(r, "")
			if want := audiences == nil || slices.Equal(named, audiences); (err == nil) != want {
				t.Errorf("it names %q, and %q are asked for: %v", named, audiences, err)
			}
		}
	}
}
