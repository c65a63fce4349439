package system

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/VictoriaMetrics/metricsql"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"sigs.k8s.io/yaml"

	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/incident"
)

// ofTheTarget are the labels that Prometheus itself gives what it scrapes.
var ofTheTarget = []string{"namespace", "exported_namespace", "pod", "job", "instance"}

// What Grafana puts in the place of its variables.
var grafana = strings.NewReplacer("$namespace", ".*", "$job", ".*", "$__rate_interval", "5m", "$datasource", "x")

func TestAlertsAndDashboardAskForMetricsThatExist(t *testing.T) {
	kagent := kagenttest.New(t, kagenttest.Options{})
	ns := namespace(t)
	applyHook(t, ns, "shop", incident.PodRestart)
	khook := controller(t, append(settings(kagent, t.TempDir()), "--leader-elect", "--leader-election-namespace", "kagent", "--notifiers-file", newReceiver(t, t.TempDir()).file)...).ready()
	becomes(t, newPod(t, ns, "cart", "cart-abc-1"), 1, "Error")
	resp, err := http.Get("http://" + khook.api + "/api/v1/health")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	var known map[string][]string
	queries := append(alertQueries(t), dashboardQueries(t)...)
	if len(queries) < 40 {
		t.Fatalf("found only %d queries", len(queries))
	}
	eventually(t, "every query finds its metrics", func() error {
		known = metricsAndLabels(t, khook.scrape())
		for _, q := range queries {
			if err := asksFor(known, q); err != nil {
				return fmt.Errorf("%s: %w", q, err)
			}
		}
		return nil
	})
	for _, wrong := range []string{"khook_no_such_metric", `khook_events_total{kind="x"}`, "sum by (kind) (khook_events_total)"} {
		if asksFor(known, wrong) == nil {
			t.Errorf("%s is taken, so this test shows nothing", wrong)
		}
	}
}

func alertQueries(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "charts", "khook", "files", "alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct{ Rules []struct{ Expr string } }
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	var queries []string
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			queries = append(queries, r.Expr)
		}
	}
	return queries
}

func dashboardQueries(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "charts", "khook", "files", "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title, Description, Type string
			Targets                  []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	var queries []string
	for _, p := range board.Panels {
		if p.Type != "row" && (p.Description == "" || len(p.Targets) == 0) {
			t.Errorf("panel %q has no description or no query", p.Title)
		}
		for _, target := range p.Targets {
			queries = append(queries, grafana.Replace(target.Expr))
		}
	}
	return queries
}

// metricsAndLabels are those of a scrape; a histogram's are by the names of its series.
func metricsAndLabels(t *testing.T, scrape string) map[string][]string {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(scrape))
	if err != nil {
		t.Fatal(err)
	}
	known := map[string][]string{}
	for name, f := range families {
		labels := map[string]bool{}
		for _, m := range f.Metric {
			for _, l := range m.Label {
				labels[l.GetName()] = true
			}
		}
		all := slices.Collect(maps.Keys(labels))
		known[name] = all
		for _, part := range []string{"_bucket", "_sum", "_count"} {
			known[name+part] = append(all, "le")
		}
	}
	return known
}

// asksFor says what a query asks for that does not exist.
func asksFor(known map[string][]string, query string) error {
	parsed, err := metricsql.Parse(query)
	if err != nil {
		return err
	}
	metricsql.VisitAll(parsed, func(e metricsql.Expr) {
		switch e := e.(type) {
		case *metricsql.MetricExpr:
			err = cmp.Or(err, metricExists(known, e))
		case *metricsql.AggrFuncExpr:
			err = cmp.Or(err, labelsExist(known, e, e.Modifier.Args))
		}
	})
	return err
}

func metricExists(known map[string][]string, m *metricsql.MetricExpr) error {
	for _, filters := range m.LabelFilterss {
		if len(filters) == 0 || filters[0].Label != "__name__" {
			continue
		}
		labels, ok := known[filters[0].Value]
		if !ok {
			return fmt.Errorf("there is no metric %s", filters[0].Value)
		}
		for _, f := range filters[1:] {
			if !slices.Contains(labels, f.Label) && !slices.Contains(ofTheTarget, f.Label) {
				return fmt.Errorf("%s has no label %s", filters[0].Value, f.Label)
			}
		}
	}
	return nil
}

// labelsExist holds that all metrics below an aggregation have the labels that it keeps.
func labelsExist(known map[string][]string, e metricsql.Expr, kept []string) (err error) {
	metricsql.VisitAll(e, func(inner metricsql.Expr) {
		m, ok := inner.(*metricsql.MetricExpr)
		if !ok {
			return
		}
		name := m.LabelFilterss[0][0].Value
		for _, label := range kept {
			if !slices.Contains(known[name], label) && !slices.Contains(ofTheTarget, label) {
				err = cmp.Or(err, fmt.Errorf("%s has no label %s", name, label))
			}
		}
	})
	return err
}
