package access

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/rest"

	"github.com/kagent-dev/khook/internal/review"
)

// A flood comes from one address, for a minute of the test's own clock. The API server takes a while for
// each answer.
const (
	attacker    = "198.51.100.7"
	floodLasts  = time.Minute
	floodEvery  = time.Second / 200
	reviewTakes = 20 * time.Millisecond
)

// flooded is a tokenAccess in a bubble of time, whose Kubernetes knows the tokens that begin with valid,
// or whose signature is.
type flooded struct {
	*tokenAccess
	t     *testing.T
	asked atomic.Int64
	wrong sync.Map // what valid callers were told wrongly
	n     atomic.Int64
}

func newFlooded(t *testing.T) *flooded {
	f := &flooded{t: t}
	f.tokenAccess = newTokenAccess(func(_ context.Context, token string) (*user.DefaultInfo, bool, error) {
		f.asked.Add(1)
		time.Sleep(reviewTakes)
		return &user.DefaultInfo{Name: "user of " + token}, strings.HasPrefix(token, "valid") || strings.HasSuffix(token, ".valid"), nil
	}, &rest.Config{}, nil, 4096)
	return f
}

// from sends a token from an address, as a request that waits for as long as one may.
func (f *flooded) from(address, token string) error {
	ctx, cancel := context.WithTimeout(f.t.Context(), 15*time.Second)
	defer cancel()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	_, err := f.Authenticate(r.WithContext(ctx), address)
	return err
}

// letIn checks that a valid token is let in at the first attempt.
func (f *flooded) letIn(who, address, token string) {
	if err := f.from(address, token); err != nil {
		f.wrong.Store(fmt.Sprint(who, " ", f.n.Add(1)), err)
	}
}

// every does something in goroutines of its own, again and again until the flood is over.
func (f *flooded) every(pause time.Duration, do func(i int)) {
	go func() {
		for i, end := 0, time.Now().Add(floodLasts); time.Now().Before(end); i++ {
			go do(i)
			time.Sleep(pause)
		}
	}()
}

// flood runs the attack with valid callers beside it, and returns how often Kubernetes was asked.
func flood(t *testing.T, token func(i int) string, beside func(*flooded)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := newFlooded(t)
		for i := range 8 {
			f.letIn("before the flood", attacker, fmt.Sprint("valid-seen-", i))
		}
		f.letIn("before the flood", attacker, jsonToken("cluster", "first", "valid"))
		f.every(floodEvery, func(i int) {
			if err := f.from(attacker, token(i)); err == nil {
				t.Error("a bad token was let in")
			}
		})
		f.every(time.Second, func(i int) {
			began := time.Now()
			f.letIn("a known caller", attacker, fmt.Sprint("valid-seen-", i%8))
			if waited := time.Since(began); waited > 10*reviewTakes {
				f.wrong.Store(fmt.Sprint("a known caller ", i), fmt.Errorf("it waited %s", waited))
			}
		})
		beside(f)
		time.Sleep(floodLasts + time.Minute)
		synctest.Wait()
		f.wrong.Range(func(who, err any) bool {
			t.Errorf("%s: %v", who, err)
			return true
		})
		most := int64(9 + ofStrangers.Burst + int(float64(ofStrangers.Rate)*(floodLasts+15*time.Second).Seconds()) + 8*int(floodLasts/tokenTTL+1))
		if n := f.asked.Load(); n > most {
			t.Errorf("Kubernetes was asked %d times, more than %d", n, most)
		}
	})
}

// jsonToken looks like a token of an issuer.
func jsonToken(issuer, subject, signature string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"RS256","kid":"1"}`)) + "." + encode(fmt.Appendf(nil, `{"iss":%q,"sub":%q,"exp":%d}`, issuer, subject, time.Now().Add(time.Hour).Unix())) + "." + signature
}

// newcomers are valid tokens that khook sees for the first time, during the flood and also from where it
// comes.
func newcomers(f *flooded) {
	f.every(time.Second, func(i int) {
		f.letIn("a new account of the cluster at the attacker's address", attacker, jsonToken("cluster", fmt.Sprint("new ", i), "valid"))
		f.letIn("a new user of another issuer at the attacker's address", attacker, jsonToken("office", fmt.Sprint("new ", i), "valid"))
		f.letIn("a new token of no known form elsewhere", "203.0.113.9", fmt.Sprint("valid-new-", i))
	})
}

func TestAFloodOfRandomTokensKeepsNoValidCallerOut(t *testing.T) {
	flood(t, func(i int) string { return fmt.Sprint("random", i) }, newcomers)
}

func TestAFloodOfForgedTokensKeepsNoValidCallerOut(t *testing.T) {
	flood(t, func(i int) string { return jsonToken("cluster", "forged", fmt.Sprint("forged", i)) }, newcomers)
}

func TestTheSameBadTokenCostsOneReview(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlooded(t)
		for range 1000 {
			if err := f.from(attacker, "bad"); !errors.Is(err, ErrUnknownCaller) {
				t.Fatal(err)
			}
		}
		if n := f.asked.Load(); n != 1 {
			t.Errorf("asked %d times", n)
		}
	})
}

// TestWhoIsTurnedAwayComesBackAndIsLetIn is the worst case: a valid token of no known form, which was not
// seen yet, at the attacker's address.
func TestWhoIsTurnedAwayComesBackAndIsLetIn(t *testing.T) {
	flood(t, func(i int) string { return fmt.Sprint("random", i) }, func(f *flooded) {
		f.every(5*time.Second, func(i int) {
			token := fmt.Sprint("valid-unseen-", i)
			err := f.from(attacker, token)
			if err != nil && !errors.Is(err, review.ErrBusy) {
				f.wrong.Store("the first time", err)
			}
			if err != nil {
				time.Sleep(3 * time.Second) // as Retry-After says
				f.letIn("the second time", attacker, token)
			}
		})
	})
}

func TestAnAddressThatSendsBadTokensWaitsBehindOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlooded(t)
		place := func(address, token string) int { return f.placeOf(address, token, tokenHash{}).Class }
		if got := place(attacker, "x"); got != unlikely {
			t.Errorf("before: class %d", got)
		}
		for i := range badTokens {
			_ = f.from(attacker, fmt.Sprint("bad", i))
			_ = f.from("", fmt.Sprint("bad too", i))
		}
		got := []int{place(attacker, "x"), place(attacker, jsonToken("office", "a", "s")), place("203.0.113.9", "x"), place("", "x")}
		if want := []int{suspect, unlikely, unlikely, unlikely}; !slices.Equal(got, want) {
			t.Errorf("classes %v, want %v", got, want)
		}
		time.Sleep(time.Minute)
		if got := place(attacker, "x"); got != unlikely {
			t.Errorf("a minute later: class %d", got)
		}
	})
}

func TestWithoutAnAnswerKnownCallersGoOnForAWhileAndNobodyIsTakenForAStranger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlooded(t)
		f.letIn("before", attacker, "valid")
		knows := f.whoIs
		f.whoIs = func(context.Context, string) (*user.DefaultInfo, bool, error) {
			return nil, false, errors.New("client rate limiter Wait returned an error: context deadline exceeded")
		}
		time.Sleep(review.StaleFor - time.Second)
		if err := f.from(attacker, "valid"); err != nil {
			t.Error(err)
		}
		if err := f.from(attacker, "valid-new"); !errors.Is(err, review.ErrNotAsked) {
			t.Error(err)
		}
		time.Sleep(2 * time.Second)
		if err := f.from(attacker, "valid"); !errors.Is(err, review.ErrNotAsked) {
			t.Error(err)
		}
		f.whoIs = knows
		if err := f.from(attacker, "valid"); err != nil {
			t.Error(err)
		}
	})
}
