package review

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kagent-dev/khook/internal/limit"
)

// oracle is a Kubernetes that answers as it is told, and counts how often it is asked.
type oracle struct {
	asked atomic.Int32
	slow  time.Duration
	fails error
	times int32 // how often it fails; 0: always
	no    bool
	queue *limit.Queue
}

func newOracle() *oracle {
	return &oracle{queue: limit.NewQueue(limit.QueueConfig{Rate: rate.Inf, Burst: 1, Running: 4, Waiting: 8, Order: []int{0}})}
}

func (o *oracle) question() Question[string] {
	return Question[string]{
		Where: func(*string) (*limit.Queue, limit.Place) { return o.queue, limit.Place{Path: []string{"x"}} },
		Ask: func(ctx context.Context) (string, bool, error) {
			o.asked.Add(1)
			select {
			case <-time.After(o.slow):
			case <-ctx.Done():
				return "", false, ctx.Err()
			}
			if o.times > 0 && o.asked.Load() > o.times {
				return "ann", !o.no, nil
			}
			return "ann", !o.no, o.fails
		},
	}
}

func answers() *Answers[string, string] {
	return New[string, string](Config{Kind: "token", Yes: 10 * time.Second, No: 5 * time.Second, Size: 100})
}

// wants asks, and checks the answer.
func (o *oracle) wants(t *testing.T, a *Answers[string, string], ctx context.Context, yes bool, fails error) {
	t.Helper()
	value, got, err := a.Get(ctx, "key", o.question())
	if got != yes || !errors.Is(err, fails) || yes && value != "ann" {
		t.Errorf("%q %v %v, want %v %v", value, got, err, yes, fails)
	}
}

func TestAnAnswerIsRememberedForAWhile(t *testing.T) {
	for name, no := range map[string]bool{"yes": false, "no": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, a := newOracle(), answers()
				o.no = no
				for range 10 {
					o.wants(t, a, t.Context(), !no, nil)
				}
				if n := o.asked.Load(); n != 1 {
					t.Errorf("asked %d times", n)
				}
				time.Sleep(11 * time.Second)
				o.wants(t, a, t.Context(), !no, nil)
				if n := o.asked.Load(); n != 2 {
					t.Errorf("asked %d times", n)
				}
			})
		})
	}
}

func TestManyWhoWantTheSameAnswerAskOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, a := newOracle(), answers()
		o.slow = time.Second
		for range 100 {
			go o.wants(t, a, t.Context(), true, nil)
		}
		synctest.Wait()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := o.asked.Load(); n != 1 {
			t.Errorf("asked %d times", n)
		}
	})
}

// faults are the ways in which Kubernetes does not answer.
func faults() map[string]func(*oracle) {
	return map[string]func(*oracle){
		"throttles": func(o *oracle) { o.fails = apierrors.NewTooManyRequests("later", 1) },
		"fails":     func(o *oracle) { o.fails = apierrors.NewInternalError(errors.New("etcd is gone")) },
		"forbids to ask": func(o *oracle) {
			o.fails = apierrors.NewForbidden(schema.GroupResource{Resource: "tokenreviews"}, "", errors.New("no"))
		},
		"says nonsense":     func(o *oracle) { o.fails = errors.New("invalid character '<'") },
		"does not answer":   func(o *oracle) { o.slow = time.Hour },
		"answers very late": func(o *oracle) { o.slow = callLimit + time.Second },
	}
}

func TestWhatCouldNotBeAskedIsNeverANo(t *testing.T) {
	for name, breaks := range faults() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, a := newOracle(), answers()
				breaks(o)
				o.wants(t, a, t.Context(), false, ErrNotAsked)
				if yes, no := a.Recall("key"); yes || no {
					t.Errorf("it remembers %v %v", yes, no)
				}
			})
		})
	}
}

func TestAnOldYesCountsForAWhileWhenKubernetesCannotBeAsked(t *testing.T) {
	for name, breaks := range faults() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, a := newOracle(), answers()
				o.wants(t, a, t.Context(), true, nil)
				began := time.Now()
				breaks(o)
				for time.Since(began) < StaleFor-20*time.Second {
					time.Sleep(11 * time.Second)
					o.wants(t, a, t.Context(), true, nil)
				}
				time.Sleep(StaleFor - time.Since(began))
				o.wants(t, a, t.Context(), false, ErrNotAsked)
				o.slow, o.fails = 0, nil
				o.wants(t, a, t.Context(), true, nil)
				time.Sleep(time.Hour) // what is under way ends
			})
		})
	}
}

func TestWhileKubernetesDoesNotAnswerAKnownCallerWaitsRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, a := newOracle(), answers()
		o.wants(t, a, t.Context(), true, nil)
		o.slow = time.Hour
		time.Sleep(11 * time.Second)
		began := time.Now()
		for range 100 {
			o.wants(t, a, t.Context(), true, nil)
		}
		if waited := time.Since(began); waited > patience { // by the test's own clock
			t.Errorf("100 requests waited %s in all", waited)
		}
		time.Sleep(time.Minute)
	})
}

func TestARealNoEndsAnOldYesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, a := newOracle(), answers()
		o.wants(t, a, t.Context(), true, nil)
		o.no = true
		time.Sleep(11 * time.Second)
		o.wants(t, a, t.Context(), false, nil)
		o.fails = errors.New("gone")
		time.Sleep(6 * time.Second)
		o.wants(t, a, t.Context(), false, ErrNotAsked)
	})
}

func TestWhoIsFirmGetsNoOldYes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, a := newOracle(), answers()
		o.wants(t, a, t.Context(), true, nil)
		o.fails = errors.New("gone")
		o.wants(t, a, Firm(t.Context()), true, nil) // it is fresh
		time.Sleep(11 * time.Second)
		o.wants(t, a, Firm(t.Context()), false, ErrNotAsked)
		o.wants(t, a, t.Context(), true, nil)
	})
}

func TestWhoMayNotAskNowIsToldSoAndGetsNoOldYes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, a := newOracle(), answers()
		o.wants(t, a, t.Context(), true, nil)
		time.Sleep(11 * time.Second)
		q := o.question()
		q.Before = func() error { return ErrBusy }
		if _, yes, err := a.Get(t.Context(), "key", q); yes || !errors.Is(err, ErrBusy) {
			t.Errorf("%v %v", yes, err)
		}
	})
}

func TestWhoFindsNoRoomIsBusyAndNotRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, a := newOracle(), answers()
		o.slow = time.Second
		var busy, yes atomic.Int32
		for i := range 40 {
			go func() {
				_, ok, err := a.Get(t.Context(), fmt.Sprint("key", i), o.question())
				switch {
				case errors.Is(err, ErrBusy):
					busy.Add(1)
				case ok && err == nil:
					yes.Add(1)
				default:
					t.Errorf("%v %v", ok, err)
				}
			}()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if busy.Load() != 28 || yes.Load() != 12 || o.asked.Load() != 12 {
			t.Errorf("%d busy, %d yes, %d asked", busy.Load(), yes.Load(), o.asked.Load())
		}
	})
}

func TestAQuestionThatNobodyWaitsForAnyMoreIsNotAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, a := newOracle(), answers()
		o.slow = time.Second
		for i := range 4 { // all turns are taken
			go func() { _, _, _ = a.Get(t.Context(), fmt.Sprint(i), o.question()) }()
		}
		synctest.Wait()
		ctx, leave := context.WithCancel(t.Context())
		go o.wants(t, a, ctx, false, ErrBusy)
		synctest.Wait()
		leave()
		time.Sleep(time.Minute)
		if n := o.asked.Load(); n != 4 {
			t.Errorf("asked %d times", n)
		}
	})
}

func TestKubernetesIsAskedAgainWhenItDidNotTakeTheQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, a := newOracle(), answers()
		o.fails = apierrors.NewTooManyRequests("later", 1)
		o.times = 1
		o.wants(t, a, t.Context(), true, nil)
		if n := o.asked.Load(); n != 2 {
			t.Errorf("asked %d times", n)
		}
	})
}

func TestABearerTokenIsWhatTheAPIServerTakesForOne(t *testing.T) {
	for header, want := range map[string]string{
		"Bearer x": "x", "bearer x": "x", "BEARER x y": "x", "Bearer a.b.c": "a.b.c", "Bearer {weird}": "{weird}",
		"": "", "Bearer": "", "Bearer ": "", "Bearer  x": "", "Basic YTpi": "", "Bearer \x7f": "", "Bearer a\x00b": "",
		"Bearer " + strings.Repeat("x", MaxToken+1): "",
	} {
		if got, ok := Bearer(header); ok != (want != "") || ok && got != want {
			t.Errorf("%.40q: %q %v", header, got, ok)
		}
	}
	if _, ok := Bearer("Bearer " + strings.Repeat("x", MaxToken)); !ok {
		t.Error("a long one")
	}
}

func jwt(header, body string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(body)) + ".c2ln"
}

func TestWhatATokenSaysOfItselfIsRead(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	c, ok := ReadClaims(jwt(`{"alg":"RS256","kid":"k"}`, `{"iss":"i","sub":"s","exp":1000100,"nbf":999999}`))
	if !ok || c.Issuer != "i\x00k" || c.Subject != "s" || !c.Current(now) {
		t.Errorf("%+v %v", c, ok)
	}
	for name, token := range map[string]string{
		"has ended":     jwt(`{"alg":"RS256"}`, `{"exp":900000}`),
		"never ends":    jwt(`{"alg":"RS256"}`, `{}`),
		"not yet begun": jwt(`{"alg":"RS256"}`, `{"exp":2000000,"nbf":1500000}`),
	} {
		if c, ok := ReadClaims(token); !ok || c.Current(now) {
			t.Errorf("one that %s: %+v %v", name, c, ok)
		}
	}
	for _, token := range []string{"", "x", "a.b.c", "..", jwt(`{"alg":"none"}`, `{}`), jwt(`[]`, `{}`), jwt(`{"alg":"RS256"}`, `7`)} {
		if c, ok := ReadClaims(token); ok {
			t.Errorf("%s: %+v", token, c)
		}
	}
}

// FuzzToken feeds what strangers send as tokens.
func FuzzToken(f *testing.F) {
	for _, s := range []string{"Bearer x", "Bearer a.b.c", "Bearer " + jwt(`{"alg":"RS256"}`, `{"exp":1e308,"nbf":-1}`), "bearer \xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		token, ok := Bearer(header)
		if ok && (token == "" || len(token) > MaxToken || strings.ContainsAny(token, " \r\n\x00")) {
			t.Fatalf("%q", token)
		}
		if c, ok := ReadClaims(token); ok {
			c.Current(time.Now())
		}
	})
}
