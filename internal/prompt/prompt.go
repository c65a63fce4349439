package prompt

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sort"
	"strings"
	"text/template/parse"
	"time"
	"unicode/utf8"

	"github.com/kagent-dev/khook/internal/incident"
)

// MaxLength is the bound of the Hook API, in characters.
const MaxLength = 10_000

// maxValue bounds each value of the cluster that a prompt may contain, in bytes.
const maxValue = incident.MaxMessage

// Variables are what a prompt template can use. All texts are data of the cluster: cleaned,
// bounded, never template code, and between marks where they are printed (taint.go).
type Variables struct {
	EventType    string // pod-restart, pod-pending, oom-kill or probe-failed
	ResourceName string // name of the Pod
	Namespace    string
	EventTime    string // RFC 3339 in UTC
	Timestamp    string // the same, under the original khook's name
	EventMessage string // what happened, in a sentence
	Message      string // the same, under the original khook's name
	Reason       string // such as OOMKilled
	Container    string // "" if the whole Pod is meant
	Workload     string // such as Deployment/shop
	Node         string
	RestartCount int
	ExitCode     int // of the container's last termination; 0 if there is none
	Count        int // occurrences so far
	FirstSeen    string
	ObservedTime string // when khook saw the newest event or sign of it, by its own clock
	Cluster      string
	URL          string // of the incident's page; "" without --external-url
}

// variables fills the template variables from an event and its incident.
func variables(f incident.Facts) Variables {
	clean := func(s string) string { return incident.Clean(s, maxValue) }
	pod := f.Signal.Attributes.PodOrZero()
	v := Variables{
		EventType:    string(f.Signal.Type),
		ResourceName: clean(f.Signal.Resource.Name),
		Namespace:    clean(f.Signal.Resource.Namespace),
		EventTime:    f.Signal.At.UTC().Format(time.RFC3339),
		EventMessage: clean(f.Signal.Message),
		Reason:       clean(f.Signal.Reason),
		Container:    clean(f.Signal.Container),
		Workload:     clean(f.Signal.Workload.String()),
		Node:         clean(f.Signal.Node),
		RestartCount: int(pod.RestartCount),
		Count:        int(max(1, f.Signal.Count)),
		FirstSeen:    f.Signal.At.UTC().Format(time.RFC3339),
		ObservedTime: f.Signal.At.UTC().Format(time.RFC3339),
		Cluster:      clean(f.Cluster),
		URL:          f.URL,
	}
	if pod.ExitCode != nil {
		v.ExitCode = int(*pod.ExitCode)
	}
	if f.Incident != nil {
		v.Count = int(max(1, f.Incident.Events))
		v.FirstSeen = f.Incident.FirstSeen.UTC().Format(time.RFC3339)
		if at := f.Incident.ObservedAt; !at.IsZero() {
			v.ObservedTime = at.UTC().Format(time.RFC3339)
		}
	}
	v.Timestamp, v.Message = v.EventTime, v.EventMessage
	return v
}

// Template is a compiled prompt template. It is never changed, and safe for concurrent use.
type Template struct {
	steps []step
	slots int  // variables that the template declares
	plain bool // values of the cluster are printed without marks
}

// Parse compiles a prompt template, of at most 10,000 characters. What it accepts can be
// rendered for every event: it uses known variables and functions only, each with values of the
// kinds that it takes, and has no loops. The error names the line and what to change.
//
// Nothing of text/template but its parser is used, whose work and memory grow with the text only: a
// template of that package makes gigabytes out of a few hundred bytes (see budgets.go).
func Parse(text string) (*Template, error) {
	p, err := compilePrompt(text)
	if err != nil {
		return nil, errors.New(incident.Clean(err.Error(), incident.MaxMessage))
	}
	return p, nil
}

func compilePrompt(text string) (*Template, error) {
	if strings.TrimSpace(text) == "" {
		return nil, errors.New("the prompt is empty: write what the agent should do")
	}
	if utf8.RuneCountInString(text) > MaxLength {
		return nil, fmt.Errorf("the prompt has more than %d characters: shorten it", MaxLength)
	}
	if strings.ContainsAny(text, OpenMark+CloseMark) {
		return nil, errors.New("the characters " + OpenMark + " and " + CloseMark + " mark data of the cluster and can't be used in a prompt: write others")
	}
	if unclosed(text) > maxUnclosed {
		return nil, fmt.Errorf("more than %d parentheses are open at once: nest less, and close them", maxUnclosed)
	}
	tree, err := parseTree("prompt", text)
	if err != nil {
		return nil, err
	}
	c := &compiler{tree: tree}
	steps, err := c.list(tree.Root)
	if err != nil {
		return nil, err
	}
	p := &Template{steps: steps, slots: len(c.holds)}
	for _, sample := range samples() {
		if err := p.try(sample); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// maxUnclosed bounds the parser's stack, which has four frames for each parenthesis.
const maxUnclosed = 1_000

// unclosed is how many parentheses are open at once, those outside of actions included.
func unclosed(text string) int {
	most, open := 0, 0
	for _, c := range []byte(text) {
		switch c {
		case '(':
			open++
			most = max(most, open)
		case ')':
			open = max(0, open-1)
		}
	}
	return most
}

var errDefines = errors.New("define and block can't be used in a prompt")

// parseTree parses a template that defines no others.
func parseTree(name, text string) (*parse.Tree, error) {
	trees := map[string]*parse.Tree{}
	tree, err := parse.New(name).Parse(text, "", "", trees, parsedFunctions)
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "template: "))
	}
	if len(trees) > 1 {
		return nil, errDefines
	}
	// A definition that has the template's own name hides behind it. Under another name it shows.
	if other := "another prompt"; name != other && strings.Contains(text, "define") {
		if _, err := parseTree(other, text); err != nil {
			return nil, err
		}
	}
	return tree, nil
}

// try renders a sample and refuses a template that goes over its budgets even then.
func (p *Template) try(sample Variables) error {
	switch r := p.run(sample); {
	case r.over:
		return fmt.Errorf("the functions of the prompt make more than %d KiB of text, or one of them more than %d KiB: use fewer, and truncate what they are given", maxMade>>10, maxResult>>10)
	case r.tired:
		return fmt.Errorf("the functions of the prompt look at more than %d KiB of text: use fewer, and truncate what they are given", maxSeen>>10)
	}
	return nil
}

// Render fills the prompt for an event. It is at most delivery.MaxPrompt bytes, longer ones are
// cut. A value that goes over a budget is cut too: rendering never fails.
func (p *Template) Render(f incident.Facts) string {
	return p.run(variables(f)).text()
}

// WithPlainValues returns the prompt without marks around what the cluster says.
func (p *Template) WithPlainValues() *Template {
	plain := *p
	plain.plain = true
	return &plain
}

// samples are the variables that a template is tried with when it is compiled: empty and filled.
func samples() []Variables {
	now := time.Date(2024, 1, 15, 10, 30, 0, 0, time.UTC).Format(time.RFC3339)
	return []Variables{{}, {
		EventType: string(incident.OOMKill), ResourceName: "my-app-pod-123", Namespace: "production",
		EventTime: now, Timestamp: now, EventMessage: "Container restarted", Message: "Container restarted",
		Reason: "OOMKilled", Container: "app", Workload: "Deployment/my-app", Node: "node-1",
		RestartCount: 3, ExitCode: 137, Count: 2, FirstSeen: now, ObservedTime: now, Cluster: "prod",
	}}
}

// VariableNames lists the variables that a prompt can use, in alphabetical order.
func VariableNames() []string {
	t := reflect.TypeFor[Variables]()
	names := make([]string, t.NumField())
	for i := range names {
		names[i] = t.Field(i).Name
	}
	sort.Strings(names)
	return names
}

// variableOf compiles the use of a variable, which is known.
func variableOf(name string) (expr, kinds) {
	structField, _ := reflect.TypeFor[Variables]().FieldByName(name)
	v := variable{field: structField.Index[0], cluster: slices.Contains(clusterText, name)}
	if structField.Type.Kind() == reflect.Int {
		return v, integerKind
	}
	return v, textKind
}
