package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// result is what a scan of one module found.
type result struct {
	goVersion string
	reachable []finding // one for each vulnerability, ordered by ID
}

// finding is a known vulnerability that the program can reach.
type finding struct {
	id, summary string
	module      string // "stdlib" for Go's own
	version     string // the one that is built in
	fixed       string // the version with the fix; empty if there is none
	calls       []string
}

// message is the part of govulncheck's JSON stream that is looked at; each has one field.
// The protocol is that of golang.org/x/vuln/internal/govulncheck, v1.0.0.
type message struct {
	Config *struct {
		GoVersion string `json:"go_version"`
		ScanLevel string `json:"scan_level"`
	} `json:"config"`
	OSV *struct {
		ID      string `json:"id"`
		Summary string `json:"summary"`
	} `json:"osv"`
	Finding *struct {
		OSV          string  `json:"osv"`
		FixedVersion string  `json:"fixed_version"`
		Trace        []frame `json:"trace"`
	} `json:"finding"`
}

// frame is a call on the way from the program to the vulnerable function, which comes first.
type frame struct {
	Module   string `json:"module"`
	Version  string `json:"version"`
	Package  string `json:"package"`
	Receiver string `json:"receiver"`
	Function string `json:"function"`
}

func (f frame) String() string {
	if f.Receiver == "" {
		return f.Package + "." + f.Function
	}
	return f.Package + "." + strings.TrimPrefix(f.Receiver, "*") + "." + f.Function
}

// readStream takes the reachable vulnerabilities from govulncheck's JSON. Findings come at three
// levels: of a module, of a package, and of a function; only the last have a function in their
// first frame. A vulnerability is told once, with the first way to it.
func readStream(r io.Reader) (result, error) {
	found, summaries, byID := result{}, map[string]string{}, map[string]finding{}
	for in := json.NewDecoder(r); ; {
		var m message
		err := in.Decode(&m)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return result{}, fmt.Errorf("read what the scanner found: %w", err)
		}
		switch {
		case m.Config != nil:
			found.goVersion = m.Config.GoVersion
			if m.Config.ScanLevel != "symbol" {
				return result{}, fmt.Errorf("the scanner looked at each %q, where functions are needed to tell what is reachable", m.Config.ScanLevel)
			}
		case m.OSV != nil:
			summaries[m.OSV.ID] = m.OSV.Summary
		case m.Finding != nil && len(m.Finding.Trace) > 0 && m.Finding.Trace[0].Function != "":
			f := finding{id: m.Finding.OSV, fixed: m.Finding.FixedVersion, module: m.Finding.Trace[0].Module, version: m.Finding.Trace[0].Version}
			for _, call := range slices.Backward(m.Finding.Trace) {
				f.calls = append(f.calls, call.String())
			}
			if _, ok := byID[f.id]; !ok {
				byID[f.id] = f
			}
		}
	}
	if found.goVersion == "" {
		return result{}, errors.New("the scanner did not say by which Go it went: nothing can be told from it")
	}
	for id, f := range byID {
		f.summary = summaries[id]
		found.reachable = append(found.reachable, f)
	}
	slices.SortFunc(found.reachable, func(a, b finding) int { return strings.Compare(a.id, b.id) })
	return found, nil
}
