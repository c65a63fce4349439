package main

import (
	"strings"
	"testing"
)

// config is what the scanner says first.
const config = `{"config": {"protocol_version": "v1.0.0", "go_version": "go1.26.11", "scan_level": "symbol"}}`

func TestOnlyFunctionsThatAreCalledCountAsReachable(t *testing.T) {
	found, err := readStream(strings.NewReader(config + `
		{"progress": {"message": "Checking the code..."}}
		{"osv": {"id": "GO-2026-0002", "summary": "Endless loop"}}
		{"finding": {"osv": "GO-2026-0001", "fixed_version": "v1.2.3", "trace": [{"module": "m", "version": "v1.0.0"}]}}
		{"finding": {"osv": "GO-2026-0001", "fixed_version": "v1.2.3", "trace": [{"module": "m", "version": "v1.0.0", "package": "m/p"}]}}
		{"finding": {"osv": "GO-2026-0002", "fixed_version": "v1.2.3", "trace": [{"module": "m", "version": "v1.0.0", "package": "m/p"}]}}
		{"finding": {"osv": "GO-2026-0002", "fixed_version": "v1.2.3", "trace": [{"module": "m", "version": "v1.0.0", "package": "m/p", "receiver": "*T", "function": "Do"}, {"package": "main", "function": "main"}]}}
		{"finding": {"osv": "GO-2026-0002", "fixed_version": "v1.2.3", "trace": [{"module": "m", "version": "v1.0.0", "package": "m/p", "function": "Other"}, {"package": "main", "function": "init"}]}}`))
	if err != nil || len(found.reachable) != 1 || found.goVersion != "go1.26.11" {
		t.Fatalf("%+v, %v", found, err)
	}
	f := found.reachable[0]
	if f.id != "GO-2026-0002" || f.summary != "Endless loop" || f.module != "m" || f.version != "v1.0.0" || f.fixed != "v1.2.3" || strings.Join(f.calls, " ") != "main.main m/p.T.Do" {
		t.Errorf("%+v", f)
	}
}

func TestAScanThatTellsNothingIsNoGoodNews(t *testing.T) {
	for _, stream := range []string{
		"", `{"progress": {}}`, config + `{"finding": `,
		`{"config": {"go_version": "go1.26.11", "scan_level": "module"}}`,
	} {
		if found, err := readStream(strings.NewReader(stream)); err == nil {
			t.Errorf("%q: %+v", stream, found)
		}
	}
}
