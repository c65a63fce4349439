package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/go-logr/logr"

	"github.com/kagent-dev/khook/internal/access"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/feed"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

// twoClusters are clusters Lima, whose khook is asked, and Quito in one database, with namespaces, Pods and Hooks of the same names.
// Quito's delivery carries canaries.
type twoClusters struct {
	*fixture
	other *fixture
	event int64 // ID of one of quito's events
	grant *grants
}

func newTwoClusters(t *testing.T, serve bool) *twoClusters {
	t.Helper()
	at := pgtest.Shared(t).Schema(t)
	g := people()
	admin := g.rights["admin"]
	g.rights["fleet"] = []access.Right{access.ReadCluster("quito")}
	g.rights["fleet with texts"] = []access.Right{access.ReadCluster("quito"), access.ReadClusterTexts("quito")}
	g.rights["admin of all"] = slices.Concat(admin, []access.Right{access.ReadCluster(""), access.ReadClusterTexts("")})
	g.rights["another's"] = []access.Right{access.ReadCluster("north"), access.ReadClusterTexts("north")}
	c := &twoClusters{grant: g}
	c.fixture = newFixtureOf(t, store.Config{Engine: pgtest.At(at), Cluster: "lima", ClusterUID: "1"}, func(cfg *Config) {
		cfg.Access, cfg.ServeClusters = g, serve
		cfg.Feeds = &feed.Clusters{Most: 2, New: func(h feed.History) *feed.Feed {
			return feed.New(feed.Config{History: h, Encode: api.EncodeEvent, EncodeIncident: api.EncodeIncident, EncodeDelivery: EncodeDelivery, Log: logr.Discard()})
		}}
	})
	c.other = newFixtureOf(t, store.Config{Engine: pgtest.At(at), Cluster: "quito", ClusterUID: "2"})
	c.other.speak(t, delivery.InputRequired)
	c.other.make(t, func(d *delivery.Delivery) { d.Reply, d.CancelRequestedBy = nil, "" }) // its question waits
	events, err := c.other.store.IncidentEvents(t.Context(), c.other.incident, 1)
	if err != nil || len(events) == 0 {
		t.Fatal(err)
	}
	c.event = events[0].ID
	return c
}

// target is a route about what quito has, with the parameters that it takes.
func (c *twoClusters) target(op operation, query url.Values) string {
	path := strings.NewReplacer("{namespace}", shop, "{name}", "memory", "{eventType}", "oom-kill").Replace(op.path)
	if strings.Contains(path, "/deliveries/") {
		path = strings.ReplaceAll(path, "{id}", c.other.delivery)
	}
	path = strings.ReplaceAll(path, "{id}", c.other.incident)
	if path == streamPath {
		query.Set("after", "0")
	}
	return path + "?" + query.Encode()
}

func takes(op operation, parameter string) bool {
	for _, p := range op.Parameters {
		if p.In == "query" && p.Name == parameter {
			return true
		}
	}
	return false
}

// tells says whether an answer has anything of quito.
func (c *twoClusters) tells(w *httptest.ResponseRecorder) bool {
	body := w.Body.String()
	return strings.Contains(body, "quito") || strings.Contains(body, canaryWord) || strings.Contains(body, c.other.incident) || strings.Contains(body, c.other.delivery) ||
		strings.Contains(body, fmt.Sprint(c.event))
}

// aboutTheOther are the ways in which each route of the document could be asked for what quito has: so a new route is asked too.
func (c *twoClusters) aboutTheOther() (asked []struct {
	operation
	target string
	named  bool
}) {
	for _, op := range operations(c.Server) {
		ways := []url.Values{{}, {"cluster": {"quito"}}, {"namespace": {shop}}, {"namespace": {shop}, "cluster": {"quito"}}}
		for _, parameter := range []struct{ name, value string }{{"incident", c.other.incident}, {"event", strconv.FormatInt(c.event, 10)}, {"idPrefix", c.other.incident[:8]}, {"idPrefix", c.other.delivery[:8]}, {"by", "cluster"}, {"by", "namespace"}} {
			if takes(op, parameter.name) {
				ways = append(ways, url.Values{parameter.name: {parameter.value}}, url.Values{parameter.name: {parameter.value}, "cluster": {"quito"}})
			}
		}
		for _, query := range ways {
			asked = append(asked, struct {
				operation
				target string
				named  bool
			}{op, c.target(op, query), query.Has("cluster")})
		}
	}
	return asked
}

// TestNoRowOfAnotherClusterIsSeenWithoutItsRight asks each route of the document, in each way that it could be asked, as callers without the
// right and of a khook that does not serve others.
func TestNoRowOfAnotherClusterIsSeenWithoutItsRight(t *testing.T) {
	for _, serve := range []bool{false, true} {
		c := newTwoClusters(t, serve)
		callers := []string{"admin", "stranger", "another's"}
		if !serve {
			callers = append(callers, "fleet with texts", "admin of all")
		}
		for _, who := range callers {
			for _, way := range c.aboutTheOther() {
				body := ""
				if strings.HasSuffix(way.path, "/reply") {
					body = `{"text": "yes"}`
				}
				w := c.as(who, way.method, way.target, body)
				text := w.Body.String()
				if way.named { // what was asked for may be said
					w.Body.Reset()
					w.Body.WriteString(strings.NewReplacer("cluster quito", "", `"quito"`, "", "resourceName quito", "").Replace(text))
				}
				if c.tells(w) || way.named && w.Code < http.StatusBadRequest {
					t.Errorf("served: %t, as %s: %s %s: %d %.600s", serve, who, way.method, way.target, w.Code, text)
				}
			}
		}
	}
}

// TestWhoMayReadAnotherClusterReadsItOnEachRouteThatTakesIt also shows that the test above can fail.
func TestWhoMayReadAnotherClusterReadsItOnEachRouteThatTakesIt(t *testing.T) {
	c := newTwoClusters(t, true)
	for who, texts := range map[string]bool{"fleet": false, "fleet with texts": true, "admin of all": true} {
		told := 0
		for _, op := range operations(c.Server) {
			byID := op.method == http.MethodGet && strings.Contains(op.path, "{id}")
			if !takes(op, "cluster") && !byID {
				continue
			}
			told++
			query := url.Values{}
			if !byID {
				query.Set("cluster", "quito")
			}
			target := c.target(op, query)
			w := c.as(who, op.method, target, "")
			if w.Code != http.StatusOK || !c.tells(w) {
				t.Errorf("%s: %s: %d %.500s", who, target, w.Code, w.Body)
			}
			if strings.Contains(w.Body.String(), `"cluster":"lima"`) {
				t.Errorf("%s: %s has lima too: %.500s", who, target, w.Body)
			}
			story := strings.HasSuffix(op.path, "/{id}") || strings.HasSuffix(op.path, "/inbox")
			if has := hasTexts(w.Body.String()); has != (texts && story) {
				t.Errorf("%s: %s has texts: %t: %.2000s", who, target, has, w.Body)
			}
			if story && !texts && !strings.Contains(w.Body.String(), "the verb get on clusters/deliveries (API group khook.kagent.dev) with the resourceName quito") {
				t.Errorf("%s: %s does not say what to ask for: %.2000s", who, target, w.Body)
			}
		}
		if told < 15 {
			t.Errorf("only %d routes tell of other clusters", told)
		}
	}
}

// TestAnIDOfAnotherClusterIsAsOneThatIsNotThere, in what is said and in what Kubernetes is asked.
func TestAnIDOfAnotherClusterIsAsOneThatIsNotThere(t *testing.T) {
	for _, serve := range []bool{false, true} {
		c := newTwoClusters(t, serve)
		for _, who := range []string{"admin", "stranger", "another's"} {
			for _, down := range []bool{false, true} {
				c.grant.down.Store(down)
				for _, op := range operations(c.Server) {
					if !strings.Contains(op.path, "{id}") {
						continue
					}
					body := ""
					if strings.HasSuffix(op.path, "/reply") {
						body = `{"text": "yes"}`
					}
					var answers []string
					own := strings.NewReplacer(c.other.incident, incident.DeriveID("never was"), c.other.delivery, incident.DeriveID("never was"))
					for _, target := range []string{c.target(op, url.Values{}), own.Replace(c.target(op, url.Values{}))} {
						before := c.grant.asked.Load()
						w := c.as(who, op.method, target, body)
						answers = append(answers, fmt.Sprintf("%d, after %d questions: %s", w.Code, c.grant.asked.Load()-before, w.Body))
					}
					if answers[0] != answers[1] || !down && !strings.HasPrefix(answers[0], "404") {
						t.Errorf("served: %t, %s, %s %s, Kubernetes away: %t:\n%s", serve, who, op.method, op.path, down, strings.Join(answers, "\n"))
					}
				}
			}
			c.grant.down.Store(false)
		}
	}
}

// TestWhatAnotherClusterDoesIsNotDoneHere: actions are refused with a word that says where to go.
func TestWhatAnotherClusterDoesIsNotDoneHere(t *testing.T) {
	c := newTwoClusters(t, true)
	for _, action := range []string{"reply", "cancel", "retry", "resume"} {
		w := c.as("admin of all", http.MethodPost, api.Base+"/deliveries/"+c.other.delivery+"/"+action, `{"text": "yes"}`)
		if w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "cluster quito") {
			t.Errorf("%s: %d %s", action, w.Code, w.Body)
		}
	}
	for name, want := range map[string]string{"quito": "--serve-clusters", "nowhere": "--serve-clusters"} {
		if w := newTwoClusters(t, false).as("admin of all", http.MethodGet, api.Base+"/events?cluster="+name, ""); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), want) {
			t.Errorf("not served: %d %s", w.Code, w.Body)
		}
	}
	if w := c.as("admin", http.MethodGet, api.Base+"/events?cluster=quito", ""); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "the verb list on clusters (API group khook.kagent.dev) with the resourceName quito") {
		t.Errorf("without the right: %d %s", w.Code, w.Body)
	}
	if w := c.as("admin of all", http.MethodGet, api.Base+"/events?cluster=nowhere", ""); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "no cluster of this name") {
		t.Errorf("one that is not there: %d %s", w.Code, w.Body)
	}
	if w := c.as("admin of all", http.MethodGet, streamPath+"?cluster=quito,lima", ""); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "one for each") {
		t.Errorf("a stream of two: %d %s", w.Code, w.Body)
	}
}

// TestPagesOverSeveralClustersHaveEachRowOnceAndInOrder, also where rows of both have the same time.
func TestPagesOverSeveralClustersHaveEachRowOnceAndInOrder(t *testing.T) {
	c := newTwoClusters(t, true)
	for _, list := range []string{"/events", "/events?sort=eventType", "/events?sort=-resourceName", "/incidents", "/incidents?sort=firstSeen", "/incidents?text=KILLED", "/deliveries"} {
		path, query, _ := strings.Cut(list, "?")
		all := c.page(t, path, query+"&limit=1000")
		seen := map[any]bool{}
		var walked []map[string]any
		next := ""
		for range 200 {
			page := c.page(t, path, query+"&limit=7"+next)
			for _, row := range page.Items {
				if seen[row["id"]] {
					t.Errorf("%s: %v comes twice", list, row["id"])
				}
				seen[row["id"]] = true
				walked = append(walked, row)
			}
			if next = "&cursor=" + page.Next; page.Next == "" {
				break
			}
		}
		each := map[any]int{}
		for i, row := range walked {
			if each[row["cluster"]]++; i < len(all.Items) && row["id"] != all.Items[i]["id"] {
				t.Errorf("%s: row %d is %v, and %v on one page", list, i, row["id"], all.Items[i]["id"])
			}
		}
		if len(walked) != len(all.Items) || each["lima"] == 0 || each["lima"] != each["quito"] || all.Total != len(walked) {
			t.Errorf("%s: %d rows in pages, %d in one of %d, of each %v", list, len(walked), len(all.Items), all.Total, each)
		}
	}
	if w := c.as("admin of all", http.MethodGet, api.Base+"/events?offset=5", ""); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "cursor") {
		t.Errorf("an offset: %d %s", w.Code, w.Body)
	}
}

func (c *twoClusters) page(t *testing.T, path, query string) api.Page[map[string]any] {
	t.Helper()
	w := c.as("admin of all", http.MethodGet, api.Base+path+"?"+strings.TrimPrefix(query, "&"), "")
	var page api.Page[map[string]any]
	if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%s?%s: %d %s", path, query, w.Code, w.Body)
	}
	return page
}

// TestStatisticsCountTheClustersThatTheCallerMayRead, each once, and say which.
func TestStatisticsCountTheClustersThatTheCallerMayRead(t *testing.T) {
	c := newTwoClusters(t, true)
	total := func(who, query string) (int64, []string) {
		var stats api.EventStats
		w := c.as(who, http.MethodGet, api.Base+"/stats/events/summary?timeRange=7d"+query, "")
		if err := json.Unmarshal(w.Body.Bytes(), &stats); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		return stats.Summary.TotalEvents, stats.Summary.Clusters
	}
	own, named := total("admin", "")
	if own == 0 || named != nil {
		t.Errorf("own: %d of %v", own, named)
	}
	for who, want := range map[string]struct {
		n     int64
		names []string
	}{"fleet": {own, []string{"quito"}}, "admin of all": {2 * own, []string{"lima", "quito"}}} {
		if n, names := total(who, ""); n != want.n || !slices.Equal(names, want.names) {
			t.Errorf("%s: %d of %v", who, n, names)
		}
	}
	if n, names := total("admin of all", "&cluster=lima,lima"); n != own || names != nil {
		t.Errorf("one that is named twice: %d of %v", n, names)
	}
	var trends api.Trends
	if err := json.Unmarshal(c.as("admin of all", http.MethodGet, api.Base+"/stats/trends?timeRange=7d&by=namespace", "").Body.Bytes(), &trends); err != nil || !slices.Contains(trends.Keys, "lima/"+shop) || !slices.Contains(trends.Keys, "quito/"+shop) {
		t.Errorf("%v %v", trends.Keys, err)
	}
}

// TestAStreamOfAnotherClusterIsOfItAlone, over both transports, and ends with the right.
func TestAStreamOfAnotherClusterIsOfItAlone(t *testing.T) {
	c := newTwoClusters(t, true)
	w := c.as("fleet", http.MethodGet, streamPath+"?after=0&kinds=event,incident,delivery&cluster=quito", "")
	if body := w.Body.String(); w.Code != http.StatusOK || strings.Contains(body, `"cluster":"lima"`) || strings.Count(body, "\nevent: event\n") < 40 || !strings.Contains(body, "\nevent: incident\n") || !strings.Contains(body, "\nevent: delivery\n") || hasTexts(body) {
		t.Errorf("%d %.1000s", w.Code, body)
	}
	if body := c.as("admin", http.MethodGet, streamPath+"?after=0", "").Body.String(); strings.Contains(body, "quito") || strings.Count(body, "\nevent: event\n") < 40 {
		t.Errorf("the own: %.1000s", body)
	}
	for who, want := range map[string]int{"fleet": http.StatusSwitchingProtocols, "admin": http.StatusForbidden, "another's": http.StatusForbidden} {
		if got := c.handshake(t, who, "?cluster=quito"); got != want {
			t.Errorf("a WebSocket as %s: %d", who, got)
		}
	}
}

// handshake is how the handshake of a WebSocket is answered.
func (c *twoClusters) handshake(t *testing.T, who, query string) int {
	t.Helper()
	served := httptest.NewServer(c.Handler())
	defer served.Close()
	conn, resp, err := websocket.Dial(t.Context(), strings.Replace(served.URL, "http", "ws", 1)+streamPath+query, &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + who}}})
	if err == nil {
		_ = conn.CloseNow()
	}
	if resp == nil {
		t.Fatal(err)
	}
	return resp.StatusCode
}

// TestAStreamOfAnotherClusterGoesByItsRight when that is asked for again, and by no other.
func TestAStreamOfAnotherClusterGoesByItsRight(t *testing.T) {
	c := newTwoClusters(t, true)
	all, err := c.cfg.Reader.Clusters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range all {
		for who, want := range map[string]map[string]bool{"fleet": {"quito": true}, "admin": {"lima": true}, "another's": {}, "admin of all": {"lima": true, "quito": true}} {
			r := httptest.NewRequest(http.MethodGet, streamPath, nil)
			r.Header.Set("Authorization", "Bearer "+who)
			of := view{c.cfg.Reader.Of(one), c.Server, one.Name == "lima"}
			if may, err := (&streamCaller{c.Server, r, of}).MayRead(t.Context(), shop); err != nil || may != want[one.Name] {
				t.Errorf("%s of %s: %t %v", who, one.Name, may, err)
			}
		}
	}
}
