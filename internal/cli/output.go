package cli

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/util/jsonpath"
)

// outputFlags say how a command prints.
type outputFlags struct {
	Output    string `short:"o" help:"Form of the output: table, wide, json, yaml, name or jsonpath=TEMPLATE." default:"table" offer:"table,wide,json,yaml,name,jsonpath=" placeholder:"FORM"`
	NoHeaders bool   `help:"Print tables without their headers."`
	Color     string `help:"Color states: auto (at a terminal, unless NO_COLOR is set), always or never." default:"auto" enum:"auto,always,never"`
}

const (
	nameForm     = "name"
	jsonPathForm = "jsonpath="
)

// namedItems is embedded by commands that print things which other commands take by name.
type namedItems struct{}

func (namedItems) printsNames() {}

// check refuses forms that there are not, before anything is done.
func (f *outputFlags) check(c *kong.Context) error {
	template, isPath := strings.CutPrefix(f.Output, jsonPathForm)
	switch {
	case isPath:
		_, err := parseJSONPath(template)
		return err
	case f.Output == nameForm:
		if _, ok := reflect.TypeAssert[interface{ printsNames() }](c.Selected().Target.Addr()); !ok {
			return fmt.Errorf("--output=%s: what this command prints has no names: use table, wide, json, yaml or jsonpath=TEMPLATE", nameForm)
		}
	case !slices.Contains([]string{"table", "wide", "json", "yaml"}, f.Output):
		return fmt.Errorf("--output is %q: use table, wide, json, yaml, name or jsonpath=TEMPLATE, such as jsonpath='{[*].id}'", f.Output)
	}
	return nil
}

// display prints as the flags say.
func (f *outputFlags) display(env Env) *display {
	p := newDisplay(env, f.Output)
	p.noHeaders, p.colored = f.NoHeaders, wantsColor(f.Color, p.width > 0)
	return p
}

// parseJSONPath reads a template. As kubectl does, it takes a path without its braces.
func parseJSONPath(template string) (*jsonpath.JSONPath, error) {
	if !strings.Contains(template, "{") {
		if !strings.HasPrefix(template, ".") && !strings.HasPrefix(template, "[") {
			template = "." + template
		}
		template = "{" + template + "}"
	}
	path := jsonpath.New("output").AllowMissingKeys(true)
	if err := path.Parse(template); err != nil {
		return nil, fmt.Errorf("--output=jsonpath: %w", err)
	}
	return path, nil
}

// jsonPath prints what a template finds in JSON, on lines of their own.
func (p *display) jsonPath(template string, text []byte) error {
	path, err := parseJSONPath(template)
	if err != nil {
		return err
	}
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return err
	}
	var b bytes.Buffer
	if err := path.Execute(&b, asTemplateHasIt(template, v)); err != nil {
		return fmt.Errorf("--output=jsonpath: %w", err)
	}
	if b.Len() > 0 && !bytes.HasSuffix(b.Bytes(), []byte("\n")) {
		b.WriteByte('\n')
	}
	_, err = io.WriteString(p.out, strings.Map(withoutHarm, b.String()))
	return err
}

// asTemplateHasIt is what a template is about. A list is a list here, and {[*].id} are the IDs in it; kubectl's lists have .items, and templates are
// written so out of habit. One of several things that are printed one by one is a list of one for a template of a list.
func asTemplateHasIt(template string, v any) any {
	object, one := v.(map[string]any)
	if one && strings.Contains(template, "{[") || one && strings.HasPrefix(template, "[") {
		return []any{object}
	}
	if _, has := object["items"]; has || !strings.Contains(template, ".items") {
		return v
	}
	if one {
		return map[string]any{"items": []any{object}}
	}
	return map[string]any{"items": v}
}

// name prints the name of a thing, as other commands take it.
func (p *display) name(kind, name string) error {
	_, err := fmt.Fprintln(p.out, kind+"/"+strings.Map(withoutHarm, name))
	return err
}

// shortID is an ID, or so much of it as there is room for in a table: other commands take that as well.
func (p *display) shortID(id string) string {
	if p.form == "wide" {
		return id
	}
	return abbreviated(id)
}
