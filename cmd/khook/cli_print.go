package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/yaml"

	"github.com/kagent-dev/khook/internal/incident"
)

// display writes what a command found.
type display struct {
	out   io.Writer
	form  string // table, wide, json or yaml
	width int    // of the terminal, in characters; 0 if it is none
	now   time.Time
}

func newDisplay(io streams, form string) *display {
	p := &display{out: io.out, form: form, now: time.Now()}
	if f, ok := io.out.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil {
			p.width = w
		}
	}
	return p
}

// forPeople says whether the output is a table.
func (p *display) forPeople() bool { return p.form == "table" || p.form == "wide" }

// raw prints what the server answered, as JSON or YAML.
func (p *display) raw(v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if p.form == "yaml" {
		if text, err = yaml.JSONToYAML(text); err != nil {
			return err
		}
	} else {
		text = append(text, '\n')
	}
	_, err = p.out.Write(text)
	return err
}

// noHeader is above a column that is no text.
const noHeader = " "

// maxCell bounds a cell of a table, in bytes.
const maxCell = 2048

// table prints rows below a header. The last column is cut to the terminal's width, unless the form
// is wide. What came from the cluster can't move the cursor.
func (p *display) table(header []string, rows [][]string) error {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 8, 3, ' ', 0)
	fmt.Fprintln(w, strings.Join(header, "\t"))
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, c := range row {
			if cells[i] = incident.Clean(c, maxCell); cells[i] == "" && header[min(i, len(header)-1)] != noHeader {
				cells[i] = "-"
			}
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(text.String()) {
		if _, err := fmt.Fprintln(p.out, p.cut(strings.TrimRight(line, " \n"))); err != nil {
			return err
		}
	}
	return nil
}

func (p *display) cut(line string) string {
	if p.width < 40 || p.form == "wide" || utf8.RuneCountInString(line) <= p.width {
		return line
	}
	return string([]rune(line)[:p.width-1]) + incident.Ellipsis
}

// field prints a name and its value.
func (p *display) field(name, value string) {
	if value != "" {
		fmt.Fprintf(p.out, "%-14s %s\n", name+":", incident.Clean(value, maxCell))
	}
}

// block prints a text of several lines below a title.
func (p *display) block(title, text string) {
	if strings.TrimSpace(text) == "" {
		return
	}
	fmt.Fprintf(p.out, "\n%s\n", title)
	for line := range strings.Lines(text) {
		fmt.Fprintf(p.out, "  %s\n", incident.Clean(line, maxCell))
	}
}

// age is how long ago a time was, as kubectl shows it.
func (p *display) age(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return duration.HumanDuration(p.now.Sub(t))
}

func seconds(s float64) string {
	return duration.HumanDuration(time.Duration(s * float64(time.Second)))
}
