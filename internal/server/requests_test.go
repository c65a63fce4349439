package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
)

// problemIn is the problem document of an answer, which must be one.
func problemIn(t *testing.T, w *httptest.ResponseRecorder) huma.ErrorModel {
	t.Helper()
	var p huma.ErrorModel
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Header().Get("Content-Type") != problemType || p.Status != w.Code {
		t.Fatalf("%d is no problem document: %s %v", w.Code, w.Body, err)
	}
	return p
}

func itemsIn(t *testing.T, w *httptest.ResponseRecorder) int {
	t.Helper()
	var p api.Page[json.RawMessage]
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %s %v", w.Code, w.Body, err)
	}
	return len(p.Items)
}

func TestATimeThatIsNamedAlwaysCounts(t *testing.T) {
	f := newFixture(t)
	for _, list := range []string{"/events", "/events/shop", "/events/types/oom-kill", "/hooks/shop/memory/events", "/incidents", "/deliveries"} {
		all := itemsIn(t, askServer(f.Server, http.MethodGet, api.Base+list, ""))
		if all == 0 {
			t.Fatalf("%s has nothing", list)
		}
		for query, want := range map[string]int{
			"endTime=1970-01-01T00:00:00Z": 0, "endTime=0001-01-01T00:00:00Z": 0, "endTime=1969-12-31T23:59:59Z": 0,
			"startTime=1970-01-01T00:00:00Z": all, "startTime=0001-01-01T00:00:00Z": all,
			"startTime=9999-12-31T23:59:59Z": 0, "endTime=9999-12-31T23:59:59Z": all,
			"startTime=0001-01-01T00:00:00Z&endTime=1970-01-01T00:00:00Z": 0,
		} {
			if got := itemsIn(t, askServer(f.Server, http.MethodGet, api.Base+list+"?"+query, "")); got != want {
				t.Errorf("%s?%s: %d items, want %d of %d", list, query, got, want, all)
			}
		}
		for _, query := range []string{"startTime=2026-01-01T00:00:00Z&endTime=0001-01-01T00:00:00Z", "startTime=1970-01-01T00:00:00Z&endTime=1970-01-01T00:00:00Z"} {
			if p := problemIn(t, askServer(f.Server, http.MethodGet, api.Base+list+"?"+query, "")); p.Status != http.StatusBadRequest || !strings.Contains(p.Detail, "endTime") {
				t.Errorf("%s?%s: %+v", list, query, p)
			}
		}
	}
}

func TestAStreamSinceBeforeAllTimeBeginsWithTheHistory(t *testing.T) {
	l := goLive(t)
	e := l.happen("shop")
	first, err := l.store.FirstChange(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, since := range []string{"0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "1900-01-01T00:00:00Z"} {
		c := l.sse("?since=" + since)
		c.wants(fmt.Sprintf("id: %d", first-1), "event: ready")
		for seen := false; !seen; {
			frame := strings.Join(c.next(), "\n")
			if frame == "" {
				t.Fatalf("since %s: the stream ended without the newest event", since)
			}
			seen = strings.Contains(frame, e.Resource.Name)
		}
	}
	if p := l.sse("?since=0001-01-01T00:00:00Z&after=0"); p.resp.StatusCode != http.StatusBadRequest {
		t.Errorf("since and after together: %d", p.resp.StatusCode)
	}
}

func TestTimesMayBeWrittenInLowerCase(t *testing.T) {
	f := newFixture(t)
	if got := itemsIn(t, askServer(f.Server, http.MethodGet, api.Base+"/events?startTime=2020-01-01t00:00:00z&endTime=2100-01-01t00:00:00.5%2b02:00", "")); got == 0 {
		t.Error("no items")
	}
	for _, text := range []string{"yesterday", "2026-01-01", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z", "1e3"} {
		if p := problemIn(t, askServer(f.Server, http.MethodGet, api.Base+"/events?startTime="+text, "")); p.Status != http.StatusBadRequest || !strings.Contains(p.Detail, "startTime") || !strings.Contains(p.Detail, "RFC 3339") {
			t.Errorf("%s: %+v", text, p)
		}
	}
}

func TestAnEmptyParameterIsNone(t *testing.T) {
	f := newFixture(t)
	all := itemsIn(t, askServer(f.Server, http.MethodGet, api.Base+"/events", ""))
	for _, query := range []string{"namespace=", "startTime=", "endTime=", "eventType=&limit=50", "resourceName=", "cursor="} {
		if got := itemsIn(t, askServer(f.Server, http.MethodGet, api.Base+"/events?"+query, "")); got != all {
			t.Errorf("%s: %d items of %d", query, got, all)
		}
	}
}

func TestARateThatIsNoNumberIsRefused(t *testing.T) {
	f := newFixture(t)
	for _, rate := range []string{"Inf", "-Inf", "+Inf", "NaN", "nan", "1e400", "-1", "1001", "fast"} {
		p := problemIn(t, askServer(f.Server, http.MethodGet, streamPath+"?maxRate="+strings.ReplaceAll(rate, "+", "%2b"), ""))
		if p.Status != http.StatusBadRequest || !strings.Contains(p.Detail, "maxRate") {
			t.Errorf("%s: %+v", rate, p)
		}
	}
}

func TestOddPathsAreProblemsAndNotRedirects(t *testing.T) {
	f := newFixture(t)
	for _, path := range []string{"//", "//api/v1/events", "/api//v1/events", "/api/v1/../v1/events", "/api/v1/./events", "/api/v1/events/..", "/api/v1/events//", "/..", "/api/v1/events/shop/../../health"} {
		p := problemIn(t, askServer(f.Server, http.MethodGet, path, ""))
		if p.Status != http.StatusNotFound || p.Type != noSuchRoute.uri() {
			t.Errorf("%s: %+v", path, p)
		}
	}
}

func TestTheNamespaceThatThePathCannotNameIsFoundWithAParameter(t *testing.T) {
	f := newFixture(t)
	p := problemIn(t, askServer(f.Server, http.MethodGet, api.Base+"/events/stream", "", "Accept", "application/json"))
	if p.Status != http.StatusNotAcceptable || !strings.Contains(p.Detail, api.Base+"/events?namespace=stream") {
		t.Errorf("%+v", p)
	}
	if got := itemsIn(t, askServer(f.Server, http.MethodGet, api.Base+"/events?namespace=stream", "")); got != 0 {
		t.Errorf("%d items", got)
	}
	if got := itemsIn(t, askServer(f.Server, http.MethodGet, api.Base+"/events/types", "")); got != 0 {
		t.Errorf("namespace types: %d items", got)
	}
}

func TestStalledDeliveriesAreWorkingAndFoundByTheirFilter(t *testing.T) {
	f := newFixture(t)
	since := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	f.make(t, func(d *delivery.Delivery) {
		d.ID, d.Version, d.State, d.EndedAt, d.StalledSince, d.Stop = "silent", 0, delivery.Working, time.Time{}, since, delivery.StopInVain
	})
	var page api.Page[api.Delivery]
	if err := json.Unmarshal(askServer(f.Server, http.MethodGet, api.Base+"/deliveries?stalled=true&namespace=shop", "").Body.Bytes(), &page); err != nil {
		t.Fatal(err)
	}
	if len(page.Items) != 1 || page.Items[0].ID != "silent" || page.Items[0].State != delivery.Working || !page.Items[0].StalledSince.Equal(since) || page.Items[0].Stop != delivery.StopInVain {
		t.Errorf("%+v", page.Items)
	}
}

func TestAHooksDeliveriesCountThoseThatWereMadeAgain(t *testing.T) {
	f := newFixture(t)
	made := func() (metrics, listed int64) {
		var m api.HookMetrics
		if err := json.Unmarshal(askServer(f.Server, http.MethodGet, api.Base+"/stats/hooks/shop/memory/metrics", "").Body.Bytes(), &m); err != nil {
			t.Fatal(err)
		}
		var h api.Hook
		if err := json.Unmarshal(askServer(f.Server, http.MethodGet, api.Base+"/hooks/shop/memory", "").Body.Bytes(), &h); err != nil {
			t.Fatal(err)
		}
		return m.Deliveries.Created, h.Statistics.Deliveries
	}
	before, beforeListed := made()
	f.make(t, func(d *delivery.Delivery) { d.ID, d.RetryOf, d.Version = "again", f.delivery, 0 })
	if after, afterListed := made(); before == 0 || after != before+1 || afterListed != beforeListed+1 || after != afterListed {
		t.Errorf("metrics %d, then %d; list %d, then %d", before, after, beforeListed, afterListed)
	}
}

func TestEveryKindOfProblemHasItsLineInTheDocs(t *testing.T) {
	docs, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	kinds := []problemKind{noSuchRoute, crossOrigin, standby, answerTooSlow, kubernetesUnavailable}
	for _, kind := range kindOfStatus {
		kinds = append(kinds, kind)
	}
	for _, kind := range kinds {
		if anchor := fmt.Sprintf("<a id=%q></a>", "problem-"+string(kind)); strings.Count(string(docs), anchor) != 1 {
			t.Errorf("docs/api.md has not one %s", anchor)
		}
	}
	f := newFixture(t)
	for _, op := range operations(f.Server) {
		for code := range op.Responses {
			var status int
			if _, err := fmt.Sscan(code, &status); err != nil || status >= 400 && kindOfStatus[status] == "" {
				t.Errorf("%s %s documents %s, which is no kind of problem", op.method, op.path, code)
			}
		}
		if op.Responses["422"] != nil || op.Responses["405"] == nil {
			t.Errorf("%s %s documents %v", op.method, op.path, op.Responses)
		}
	}
}

func TestAnswersMayGetFieldsAndRequestsMayNot(t *testing.T) {
	f := newFixture(t)
	if _, _, err := f.OpenAPI(); err != nil {
		t.Fatal(err)
	}
	closed := 0
	for name, schema := range f.api.OpenAPI().Components.Schemas.Map() {
		if schema.AdditionalProperties == false {
			closed++
			if !strings.Contains(name, "Request") && !strings.Contains(name, "Input") && !strings.Contains(name, "Body") {
				t.Errorf("schema %s forbids further fields", name)
			}
		}
	}
	if closed == 0 {
		t.Error("requests may have any fields")
	}
	p := problemIn(t, askServer(f.Server, http.MethodPost, api.Base+"/deliveries/"+f.delivery+"/reply", `{"text":"yes","txet":"no"}`, "Content-Type", "application/json"))
	if p.Status != http.StatusBadRequest || !strings.Contains(fmt.Sprint(p.Errors[0]), "txet") {
		t.Errorf("%+v", p)
	}
}

func TestEveryErrorThatARouteSendsIsDocumentedThere(t *testing.T) {
	f := newFixture(t)
	if _, _, err := f.OpenAPI(); err != nil {
		t.Fatal(err)
	}
	for _, op := range operations(f.Server) {
		want := []int{http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusMisdirectedRequest, http.StatusTooManyRequests, http.StatusServiceUnavailable}
		if op.method == http.MethodPost {
			want = append(want, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge)
		}
		for _, code := range want {
			if op.Responses[fmt.Sprint(code)] == nil {
				t.Errorf("%s %s: %d is not documented", op.method, op.path, code)
			}
		}
	}
}
