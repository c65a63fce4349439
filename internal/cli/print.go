package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"

	nodes "go.yaml.in/yaml/v3"
	"golang.org/x/term"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/yaml"

	"github.com/kagent-dev/khook/internal/incident"
)

// display writes what a command found.
type display struct {
	out       io.Writer
	form      string // table, wide, json, yaml, name or jsonpath=TEMPLATE
	noHeaders bool
	colored   bool
	width     int // of the terminal, in columns; 0 if it is none
	now       time.Time
}

func newDisplay(env Env, form string) *display {
	p := &display{out: env.Out, form: form, now: time.Now()}
	if f, ok := env.Out.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil {
			p.width = w
		}
	}
	return p
}

// forPeople says whether the output is a table.
func (p *display) forPeople() bool { return p.form == "table" || p.form == "wide" }

// raw prints what the server answered, as JSON, as YAML or by a template.
func (p *display) raw(v any) error {
	if text, is := v.([]byte); is { // it is JSON, and no bytes to be encoded
		v = json.RawMessage(text)
	}
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if template, ok := strings.CutPrefix(p.form, jsonPathForm); ok {
		return p.jsonPath(template, text)
	}
	text = append([]byte(escaped(string(text))), '\n')
	if p.form != "yaml" {
		_, err = p.out.Write(text)
		return err
	}
	if text, err = yaml.JSONToYAML(text); err != nil {
		return err
	}
	return p.yaml(text)
}

// yaml prints documents that mean the same as text.
func (p *display) yaml(text []byte) error {
	_, err := io.WriteString(p.out, harmlessYAML(string(text)))
	return err
}

// field prints a name and its value.
func (p *display) field(name, value string) {
	if value != "" {
		value = incident.Clean(value, maxCell)
		if stateFields[name] {
			value = p.paint(value)
		}
		fmt.Fprintf(p.out, "%-14s %s\n", name+":", value)
	}
}

// block prints a text of several lines below a title, with their indentation and in full.
func (p *display) block(title, text string) {
	if strings.TrimSpace(text) == "" {
		return
	}
	fmt.Fprintf(p.out, "\n%s\n", incident.Clean(title, maxCell))
	for line := range strings.Lines(strings.TrimRight(text, "\n")) {
		line = strings.Map(withoutHarm, strings.ReplaceAll(line, "\t", "    "))
		fmt.Fprintln(p.out, strings.TrimRight("  "+line, " \n"))
	}
}

// age is how long ago a time was, as kubectl shows it. What the clock here has not reached yet is 0s old.
func (p *display) age(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return duration.HumanDuration(max(0, p.now.Sub(t)))
}

func seconds(s float64) string {
	return duration.HumanDuration(time.Duration(s * float64(time.Second)))
}

// harmful says whether a character is one that terminals obey or do not show: control characters
// but the end of a line and the tab, and those that format, such as U+202E, which turns text around.
func harmful(r rune) bool {
	return unicode.IsControl(r) && r != '\n' && r != '\t' || unicode.Is(unicode.Cf, r)
}

func withoutHarm(r rune) rune {
	if harmful(r) {
		return -1
	}
	return r
}

// escaped writes the harmful characters of JSON as JSON can.
func escaped(text string) string {
	var b strings.Builder
	for _, r := range text {
		if !harmful(r) {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.String()
}

// harmlessYAML is text without harmful characters, as documents that mean the same. What is no YAML
// loses them.
func harmlessYAML(text string) string {
	if !strings.ContainsFunc(text, harmful) {
		return text
	}
	var b strings.Builder
	from, to := nodes.NewDecoder(strings.NewReader(text)), nodes.NewEncoder(&b)
	to.SetIndent(2)
	for {
		var doc nodes.Node
		err := from.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		quoteHarm(&doc)
		if err == nil {
			err = to.Encode(&doc)
		}
		if err != nil {
			return strings.Map(withoutHarm, text)
		}
	}
	if to.Close() != nil {
		return strings.Map(withoutHarm, text)
	}
	return yamlEscaped(b.String())
}

// quoteHarm double-quotes the scalars with harmful characters: only there can they be escaped.
func quoteHarm(n *nodes.Node) {
	if n.Kind == nodes.ScalarNode && strings.ContainsFunc(n.Value, harmful) {
		n.Style = nodes.DoubleQuotedStyle
	}
	n.HeadComment, n.LineComment, n.FootComment = "", "", ""
	for _, child := range n.Content {
		quoteHarm(child)
	}
}

// yamlEscaped is escaped for YAML, which has no pairs of surrogates.
func yamlEscaped(text string) string {
	var b strings.Builder
	for _, r := range text {
		if harmful(r) {
			fmt.Fprintf(&b, `\U%08x`, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}
