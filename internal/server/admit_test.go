package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"golang.org/x/net/http2"

	"github.com/kagent-dev/khook/internal/access"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/capacity"
	"github.com/kagent-dev/khook/internal/capacity/capacitytest"
	"github.com/kagent-dev/khook/internal/lint"
)

// anyName lets in whoever says a name, and refuses the others.
type anyName struct{}

type person string

func (p person) GetName() string { return string(p) }

func (anyName) Authenticate(r *http.Request, address string) (access.Caller, error) {
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok && token != "wrong" {
		return person(token), nil
	}
	return nil, access.ErrUnknownCaller
}

func (anyName) May(context.Context, access.Caller, access.Right) (bool, error) { return true, nil }

func as(caller string) string { return "Authorization: Bearer " + caller + "\r\n" }

func upload(caller string, length int) string {
	return fmt.Sprintf("POST %s/hooks/validate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/yaml\r\n%sContent-Length: %d\r\n\r\n", api.Base, as(caller), length)
}

func statusOf(t testing.TB, c net.Conn) (int, http.Header) {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode, resp.Header
}

func TestSlowUploadsOfOneCallerTakeABoundedPartOfTheMemoryAndKeepNobodyOut(t *testing.T) {
	const bodies = 2 << 20
	f := newFixture(t, func(c *Config) { c.Access, c.Limits.BodyBytes = anyName{}, bodies })
	address := f.listen(t)
	before := capacitytest.Footprint()
	most := int64(0)
	for range 269 {
		c := dial(t, address)
		if _, err := io.WriteString(c, upload("mallory", 256<<10)+strings.Repeat("#", 4000)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "uploads are under way", func() bool { used, _ := f.gates.bodies.Used(); return used > 0 })
	for range 10 { // anna is served meanwhile
		c := dial(t, address)
		text := "kind: Hook\n"
		if _, err := io.WriteString(c, upload("anna", len(text))+text); err != nil {
			t.Fatal(err)
		}
		if code, _ := statusOf(t, c); code != http.StatusOK {
			t.Errorf("anna got %d", code)
		}
		most = max(most, capacitytest.Footprint()-before)
	}
	used, _ := f.gates.bodies.Used()
	if used > bodies/2+256<<10 {
		t.Errorf("mallory has %s under way, of %s for all", capacity.Text(used), capacity.Text(bodies))
	}
	if limit := int64(269*capacity.Connection + 3*bodies); most > limit {
		t.Errorf("the uploads took %s, want at most %s", capacity.Text(most), capacity.Text(limit))
	}
}

// eventually waits for a condition; a minute is for a machine that does much else.
func eventually(t testing.TB, what string, met func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !met(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain: ", what)
		}
	}
}

// unread is a body that must not be read.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}

func TestABodyThatIsTooLargeIsRefusedBeforeItIsRead(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Access = anyName{} })
	for what, want := range map[string]struct {
		caller string
		length int64
		code   int
	}{"too large": {"anna", 1 << 20, http.StatusRequestEntityTooLarge}, "of nobody": {"", 1000, http.StatusUnauthorized}} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://khook"+api.Base+"/hooks/validate", unread{t})
		if err != nil {
			t.Fatal(err)
		}
		r.ContentLength = want.length
		if want.caller != "" {
			r.Header.Set("Authorization", "Bearer "+want.caller)
		}
		r.RemoteAddr = "10.0.0.1:1"
		w := httptest.NewRecorder()
		f.Handler().ServeHTTP(w, r)
		if w.Code != want.code {
			t.Errorf("a body %s: %d %s", what, w.Code, w.Body)
		}
	}
	w := askServer(f.Server, http.MethodPost, api.Base+"/hooks/validate", strings.Repeat("#", 256<<10+1), "Authorization", "Bearer anna", "Content-Type", yamlType)
	if w.Code != http.StatusRequestEntityTooLarge || !strings.Contains(w.Body.String(), "at most 256 KiB") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// late is a body whose reads end at their deadline.
type late struct{}

func (late) Read([]byte) (int, error) { return 0, context.DeadlineExceeded }

// overdue is a ResponseWriter whose deadlines are over at once.
type overdue struct{ http.ResponseWriter }

func (overdue) SetReadDeadline(time.Time) error { return nil }

func TestABodyThatComesTooSlowlyIsGivenUp(t *testing.T) {
	for _, sent := range []int{0, 100 << 10} {
		began := time.Now().Add(-bodyPatience - time.Duration(sent)*time.Second/slowest)
		_, err := readFrom(http.NewResponseController(overdue{}), late{}, make([]byte, sent), 1<<20, began)
		if !errors.Is(err, errSlowBody) {
			t.Errorf("after %d bytes: %v", sent, err)
		}
	}
}

func TestManyValidationsOfOneCallerWaitForEachOtherAndNotTheOthersForThem(t *testing.T) {
	var running, most, done atomic.Int64
	release := make(chan struct{})
	f := newFixture(t, func(c *Config) {
		c.Access = anyName{}
		c.Limits.Validations = 2
		c.Validate = func(ctx context.Context, _ []byte) lint.Report {
			n := running.Add(1)
			defer running.Add(-1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			if callerName(ctx) == "mallory" {
				<-release
			}
			done.Add(1)
			return lint.Report{Hooks: []string{}, Errors: []lint.Finding{}, Warnings: []lint.Finding{}, Prompts: []lint.SamplePrompt{}}
		}
	})
	validate := func(caller string) int {
		w := askServer(f.Server, http.MethodPost, api.Base+"/hooks/validate", "a: b", "Authorization", "Bearer "+caller, "Content-Type", yamlType)
		if w.Code == http.StatusTooManyRequests && w.Header().Get("Retry-After") == "" {
			t.Error("429 without Retry-After")
		}
		return w.Code
	}
	var codes sync.Map
	var all sync.WaitGroup
	for range 250 {
		all.Go(func() { n, _ := codes.LoadOrStore(validate("mallory"), new(atomic.Int64)); n.(*atomic.Int64).Add(1) }) //nolint:forcetypeassert // as above
	}
	eventually(t, "mallory's line is full", func() bool {
		n, ok := codes.Load(http.StatusTooManyRequests)
		return ok && n.(*atomic.Int64).Load() > 200 //nolint:forcetypeassert // as above
	})
	for range 20 {
		if code := validate("anna"); code != http.StatusOK {
			t.Errorf("anna got %d", code)
		}
	}
	close(release)
	all.Wait()
	if most.Load() > 2 {
		t.Errorf("%d were checked at the same time, want at most 2", most.Load())
	}
	codes.Range(func(code, n any) bool {
		if code != http.StatusOK && code != http.StatusTooManyRequests {
			t.Errorf("mallory got %v %d times", code, n.(*atomic.Int64).Load()) //nolint:forcetypeassert // as above
		}
		return true
	})
}

func TestAnswersThatNobodyReadsTakeABoundedPartOfTheMemory(t *testing.T) {
	const answers = 32 << 20
	f := newFixture(t, func(c *Config) { c.Access, c.Limits.ResponseBytes = anyName{}, answers })
	f.record(t, 1000)
	address := f.listen(t)
	before := capacitytest.Footprint()
	for range 150 {
		c := dial(t, address)
		_ = c.(*net.TCPConn).SetReadBuffer(4 << 10) //nolint:forcetypeassert // it is one
		if _, err := io.WriteString(c, requestFor("/events?limit=1000", "Authorization: Bearer mallory")); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "answers are written to nobody", func() bool { used, waiting := f.gates.answers.Used(); return used > answers/4 && waiting > 0 })
	if code := exchange(t, dial(t, address), requestFor("/events?limit=50", "Authorization: Bearer anna")); code != http.StatusOK {
		t.Errorf("anna got %d", code)
	}
	if took, limit := capacitytest.Footprint()-before, int64(answers+150*capacity.Connection); took > limit {
		t.Errorf("they took %s, want at most %s", capacity.Text(took), capacity.Text(limit))
	}
}

func TestThousandsOfConnectionsWithoutATokenTakeABoundedPartOfTheMemory(t *testing.T) {
	const most = 300
	f := newFixture(t, func(c *Config) { c.Access, c.Limits.MaxConnections = anyName{}, most })
	address := f.listen(t)
	anna := dial(t, address)
	fromAnna := requestFor("/events", "Authorization: Bearer anna")
	exchange(t, anna, fromAnna)
	before := capacitytest.Footprint()
	var open []net.Conn
	for i := range 4000 {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
		if i%2 == 0 {
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\n") // and no more
		}
		if i%200 == 0 { // meanwhile, from the same address: on her old connection, and on a new one
			if code := exchange(t, anna, fromAnna); code != http.StatusOK {
				t.Errorf("anna got %d", code)
			}
			if code := exchange(t, dial(t, address), fromAnna); code != http.StatusOK {
				t.Errorf("anna got %d on a new connection", code)
			}
		}
	}
	took := capacitytest.Footprint() - before - int64(len(open))*1500 // the client's side of them
	if limit := int64(most * capacity.Connection); took > limit {
		t.Errorf("%d connections took %s, want at most %s", len(open), capacity.Text(took), capacity.Text(limit))
	}
	if n := f.openConnections(); n > most {
		t.Errorf("%d are open, want at most %d", n, most)
	}
	for _, c := range open {
		_ = c.Close()
	}
}

func TestHTTP2WithoutTLSIsSpokenOnlyWhereItIsAskedFor(t *testing.T) {
	for _, asked := range []bool{false, true} {
		f := newFixture(t, func(c *Config) { c.HTTP2Cleartext = asked })
		c := dial(t, f.listen(t))
		if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
			t.Fatal(err)
		}
		framer := http2.NewFramer(c, c)
		if asked {
			_ = framer.WriteSettings()
		}
		frame, err := framer.ReadFrame()
		settings, spoken := frame.(*http2.SettingsFrame)
		if spoken != asked {
			t.Errorf("asked for: %v, spoken: %v (%v)", asked, spoken, err)
		}
		if spoken {
			if n, _ := settings.Value(http2.SettingMaxConcurrentStreams); n == 0 || n > 200 {
				t.Errorf("%d requests at once on one connection", n)
			}
		}
	}
}

func TestAFloodOfRefusedRequestsWritesFewLinesAndHidesNone(t *testing.T) {
	var mu sync.Mutex
	var lines []string
	f := newFixture(t, func(c *Config) {
		c.Access = anyName{}
		c.Log = funcr.New(func(_, args string) { mu.Lock(); defer mu.Unlock(); lines = append(lines, args) }, funcr.Options{})
	})
	const each = 1000
	for i := range each {
		askServer(f.Server, http.MethodGet, api.Base+"/events", "", "Authorization", "Bearer wrong")
		askServer(f.Server, http.MethodGet, fmt.Sprint(api.Base, "/nothing/", i), "", "Authorization", "Bearer anna")
		askServer(f.Server, http.MethodPost, api.Base+"/events", "")
	}
	f.accessLog.flush()
	written, told := 0, ""
	for _, line := range lines {
		if strings.Contains(line, `"msg"="request"`) {
			written++
		}
		if strings.Contains(line, "further requests") {
			told = line
		}
	}
	if written == 0 || written > eachBurst+refusedBurst {
		t.Errorf("%d lines about %d refused requests", written, 3*each)
	}
	if want := fmt.Sprintf(`"requests"=%d`, 3*each-written); !strings.Contains(told, want) || !strings.Contains(told, "401: ") || !strings.Contains(told, "405: ") {
		t.Errorf("%d lines were written; what was left out is told as %q", written, told)
	}
	askServer(f.Server, http.MethodGet, api.Base+"/events", "", "Authorization", "Bearer anna")
	if last := lines[len(lines)-1]; !strings.Contains(last, `"status"=200`) {
		t.Errorf("meanwhile a good request has no line: %s", last)
	}
}

func TestTheHealthTellsTheMemoryAndWhatDoesNotFitIntoIt(t *testing.T) {
	f := newFixture(t, func(c *Config) {
		c.Warnings = func() []string { return []string{"--api-max-streams is 10000, and there is room for 500"} }
	})
	h := f.Health(t.Context())
	if h.Status != api.Healthy || len(h.Reasons) != 0 || len(h.Warnings) != 1 {
		t.Errorf("a setting that does not fit is a warning and nothing more: %+v", h)
	}
	if m := h.Memory; m.HeapBytes == 0 || m.UsedBytes < m.HeapBytes || m.Goroutines == 0 {
		t.Errorf("%+v", m)
	}
}

// TestACheckThatTakesTooLongLeavesTimeForThoseOfOthers has a caller send a text whose check takes all the
// time that it gets.
func TestACheckThatTakesTooLongLeavesTimeForThoseOfOthers(t *testing.T) {
	begun := make(chan struct{})
	f := newFixture(t, func(c *Config) {
		c.Access, c.Limits.Validations = anyName{}, 1
		c.Validate = func(ctx context.Context, text []byte) lint.Report {
			if string(text) == "large" {
				close(begun)
				<-ctx.Done()
			}
			return lint.Report{Hooks: []string{}, Errors: []lint.Finding{}, Warnings: []lint.Finding{}, Prompts: []lint.SamplePrompt{}}
		}
	})
	done := make(chan int)
	go func() {
		done <- askServer(f.Server, http.MethodPost, api.Base+"/hooks/validate", "large", "Content-Type", yamlType, "Authorization", "Bearer mallory").Code
	}()
	<-begun
	if w := askServer(f.Server, http.MethodPost, api.Base+"/hooks/validate", "small", "Content-Type", yamlType, "Authorization", "Bearer ann"); w.Code != http.StatusOK {
		t.Errorf("the small text: %d %s", w.Code, w.Body)
	}
	if code := <-done; code != http.StatusOK {
		t.Errorf("the large one: %d", code)
	}
}
