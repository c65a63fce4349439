package cli

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/incident"
)

func TestCLITakesAsManyColumnsAsATerminalDoes(t *testing.T) {
	for text, want := range map[string]int{
		"": 0, "cart": 4, "ü": 1, "u\u0308": 1, "…": 1, "█▌": 2, "订单服务": 8, "ｶﾞ": 2, "カート": 6, "장바구니": 8, "ＡＢ": 4, "🔥": 2, "aé订b": 5,
	} {
		if got := breadth(text); got != want {
			t.Errorf("%q takes %d columns, want %d", text, got, want)
		}
	}
	for room, want := range map[int]string{1: "…", 2: "…", 3: "订…", 4: "订…", 5: "订单…", 8: "订单服务", 9: "订单服务"} {
		if got := cutTo("订单服务", room); got != want {
			t.Errorf("in %d columns: %q, want %q", room, got, want)
		}
	}
}

// crowdedTable is a table as a terminal of some width shows it; 0 is none.
func crowdedTable(t *testing.T, width int, form string) []string {
	t.Helper()
	var out bytes.Buffer
	p := &display{out: &out, form: form, width: width}
	rows := [][]string{
		{"6aa12b53", "3m", "cart-7d4b9c-x2x9k-of-a-very-long-name", "订单服务", "容器使用的内存超过了限制 and was killed by the kernel of its node"},
		{"7bb12b53", "2d", "web", "shop", "short"},
	}
	if err := p.table([]string{"ID", "AGE", "RESOURCE", "NAMESPACE", "MESSAGE"}, rows); err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
}

func TestCLIMakesTablesAsWideAsTheTerminalAndNoWider(t *testing.T) {
	if diff := cmp.Diff([]string{
		"ID         AGE   RESOURCE                                NAMESPACE   MESSAGE",
		"6aa12b53   3m    cart-7d4b9c-x2x9k-of-a-very-long-name   订单服务    容器使用的内存超过了限制 and was killed by the kernel of its node",
		"7bb12b53   2d    web                                     shop        short",
	}, crowdedTable(t, 0, "table")); diff != "" {
		t.Errorf("no terminal: %s", diff)
	}
	if diff := cmp.Diff(crowdedTable(t, 0, "table"), crowdedTable(t, 60, "wide")); diff != "" {
		t.Errorf("-o wide: %s", diff)
	}
	if diff := cmp.Diff([]string{
		"ID        AGE  RESOURCE                             NAMESPACE  MESSAGE",
		"6aa12b53  3m   cart-7d4b9c-x2x9k-of-a-very-long-n…  订单服务   容器使用的…",
		"7bb12b53  2d   web                                  shop       short",
	}, crowdedTable(t, 75, "table")); diff != "" {
		t.Errorf("75 columns: %s", diff)
	}
	for width := 1; width < 130; width++ {
		for _, line := range crowdedTable(t, width, "table") {
			if got := breadth(line); got > width {
				t.Fatalf("%d columns: a line has %d\n%s", width, got, line)
			}
		}
	}
	if table := crowdedTable(t, 118, "table"); breadth(table[1]) != 118 {
		t.Errorf("118 columns are not used: %s", table[1])
	}
}

func TestCLIBreaksWhatMustNotBeCutBetweenWords(t *testing.T) {
	const why = "its agent had been called for 订单服务 within the window"
	p := &display{form: "table", width: 40}
	if diff := cmp.Diff([]string{"its agent had been called for", "订单服务 within the window"}, p.wrapped(why, 10)); diff != "" {
		t.Error(diff)
	}
	for _, whole := range []*display{{form: "table"}, {form: "wide", width: 40}} {
		if got := whole.wrapped(why, 10); len(got) != 1 || got[0] != why {
			t.Errorf("%q", got)
		}
	}
}

func TestCLIPrintsWhatATemplateFinds(t *testing.T) {
	url := answers(t, func(r *http.Request) any {
		if strings.Contains(r.URL.Path, "/incidents/") {
			return api.IncidentDetail{Incident: api.Incident{ID: anID, Events: 3}}
		}
		return api.Page[api.Incident]{Items: []api.Incident{
			{ID: "6aa12b53-7f03-5f1b-8118-075e1fe1a03b", Events: 9007199254740993, FirstSeen: time.Now(), Subject: api.Subject{Message: "a\x1b[2Jb"}},
			{ID: "7bb12b53-7f03-5f1b-8118-075e1fe1a03b", Events: 2, Subject: api.Subject{Namespace: "shop"}},
		}}
	})
	for template, want := range map[string]string{
		"{[*].events}": "9007199254740993 2\n",
		`{range [*]}{.events}{"\t"}{.namespace}{"\n"}{end}`: "9007199254740993\t\n2\tshop\n",
		"{[?(@.events<5)].namespace}":                       "shop\n",
		"{[0].message}":                                     "a[2Jb\n",
		"[1].namespace":                                     "shop\n",
		"{[1].workload}":                                    `{"kind":"","name":""}` + "\n",
		"{[0].noSuchThing}":                                 "",
	} {
		if code, out, errs := khook(t, "incidents", "--server", url, "-o", "jsonpath="+template); code != 0 || out != want {
			t.Errorf("%s: %d %q, want %q %s", template, code, out, want, errs)
		}
	}
	if _, out, _ := khook(t, "incidents", anID, "--server", url, "-o", "jsonpath=.events"); out != "3\n" {
		t.Errorf("of one: %q", out)
	}
}

func TestCLIRefusesFormsThatThereAreNot(t *testing.T) {
	for args, want := range map[string]string{
		"events -o csv":                  `--output is "csv": use table, wide, json, yaml, name or jsonpath=TEMPLATE`,
		"events -o jsonpath={.a":         "--output=jsonpath: unclosed action",
		"stats trends -o name":           "--output=name: what this command prints has no names",
		"health -o name":                 "--output=name",
		"events -A -n shop":              "--all-namespaces and --namespace contradict each other",
		"stats hook shop/memory -o name": "--output=name",
	} {
		if code, out, errs := khook(t, append(strings.Fields(args), "--server", "http://127.0.0.1:1")...); code != 2 || !strings.Contains(errs, want) {
			t.Errorf("%s: %d %s%s", args, code, out, errs)
		}
	}
}

func TestCLILeavesTheHeadersOut(t *testing.T) {
	url := answers(t, func(r *http.Request) any {
		if r.URL.Query().Has("namespace") {
			t.Errorf("-A asks for %s", r.URL)
		}
		return api.Page[api.Event]{Items: []api.Event{{ID: 7, Subject: api.Subject{EventType: api.EventType(incident.OOMKill)}}}, Total: 1}
	})
	_, out, errs := khook(t, "events", "-A", "--server", url, "--no-headers")
	if got := lines(out); len(got) != 1 || !strings.HasPrefix(got[0], "7 - oom-kill") || errs != "" {
		t.Errorf("%q %s", got, errs)
	}
}
