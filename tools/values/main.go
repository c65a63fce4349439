// Command values writes the reference of the chart's values. What a value means is said once, in
// the comment above it in values.yaml; what it may be, in values.schema.json. This program takes
// comments and defaults into the schema, and makes docs/values.md of the schema.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// value is one of the chart's values.
type value struct {
	path, comment string
	node          *yaml.Node
}

func main() {
	if err := run("../.."); err != nil {
		fmt.Fprintln(os.Stderr, "values:", err)
		os.Exit(1)
	}
}

func run(root string) error {
	chart := filepath.Join(root, "charts", "khook")
	text, err := os.ReadFile(filepath.Join(chart, "values.yaml"))
	if err != nil {
		return err
	}
	var file yaml.Node
	if err := yaml.Unmarshal(text, &file); err != nil {
		return err
	}
	schemaFile := filepath.Join(chart, "values.schema.json")
	if text, err = os.ReadFile(schemaFile); err != nil {
		return err
	}
	var schema map[string]any
	if err := json.Unmarshal(text, &schema); err != nil {
		return fmt.Errorf("values.schema.json: %w", err)
	}
	values := collect(nil, "", file.Content[0])
	for _, v := range values {
		if err := describe(schema, v); err != nil {
			return err
		}
	}
	if err := noOthers(schema, "", values); err != nil {
		return err
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(schema); err != nil {
		return err
	}
	if err := os.WriteFile(schemaFile, out.Bytes(), 0o644); err != nil { //nolint:gosec // others may read it
		return err
	}
	return os.WriteFile(filepath.Join(root, "docs", "values.md"), []byte(reference(schema, values)), 0o644) //nolint:gosec // others may read it
}

// collect finds the values that have a comment, in order.
func collect(found []value, path string, m *yaml.Node) []value {
	for i := 0; i+1 < len(m.Content); i += 2 {
		key, node := m.Content[i], m.Content[i+1]
		fullPath := strings.TrimPrefix(path+"."+key.Value, ".")
		if comment := meaning(key.HeadComment); comment != "" {
			found = append(found, value{fullPath, comment, node})
		} else if node.Kind == yaml.MappingNode {
			found = collect(found, fullPath, node)
		} else {
			found = append(found, value{fullPath, "", node})
		}
	}
	return found
}

// meaning is the text of the last comment that begins with "-- ".
func meaning(comment string) string {
	_, text, ok := strings.Cut("\n"+comment, "\n# -- ")
	if !ok {
		return ""
	}
	return strings.Join(strings.Fields(strings.ReplaceAll(text, "\n# ", " ")), " ")
}

// describe takes a value's comment and default into the schema.
func describe(schema map[string]any, v value) error {
	if v.comment == "" {
		return fmt.Errorf("values.yaml: %s has no comment that begins with --", v.path)
	}
	found, err := at(schema, v.path)
	if err != nil {
		return err
	}
	var def any
	if err := v.node.Decode(&def); err != nil {
		return fmt.Errorf("%s: %w", v.path, err)
	}
	found["description"], found["default"] = v.comment, def
	return nil
}

func at(schema map[string]any, path string) (map[string]any, error) {
	found := schema
	for name := range strings.SplitSeq(path, ".") {
		properties, _ := found["properties"].(map[string]any)
		next, ok := properties[name].(map[string]any)
		if !ok {
			return nil, fmt.Errorf("values.schema.json lacks %s: say what it may be", path)
		}
		found = next
	}
	return found, nil
}

// noOthers holds that the schema has no values that the chart does not have.
func noOthers(schema map[string]any, path string, values []value) error {
	properties, _ := schema["properties"].(map[string]any)
	var errs []error
	for name, p := range properties {
		where := strings.TrimPrefix(path+"."+name, ".")
		known := where == "global" || slices.ContainsFunc(values, func(v value) bool {
			return v.path == where || strings.HasPrefix(v.path, where+".") || strings.HasPrefix(where, v.path+".")
		})
		if !known {
			errs = append(errs, fmt.Errorf("values.schema.json has %s, and values.yaml has not", where))
		}
		if p, ok := p.(map[string]any); ok {
			errs = append(errs, noOthers(p, where, values))
		}
	}
	return errors.Join(errs...)
}

func reference(schema map[string]any, values []value) string {
	var b strings.Builder
	b.WriteString("# Values of the chart\n\nGenerated from `charts/khook/values.schema.json`, by which helm checks what you write. [install.md](install.md) has\nexamples.\n\n| value | default | what it may be | what it means |\n| --- | --- | --- | --- |\n")
	for _, v := range values {
		found, err := at(schema, v.path)
		if err != nil {
			continue // describe has said so
		}
		def, _ := json.Marshal(found["default"])
		text := string(def)
		if len(text) > 60 {
			text = "see values.yaml"
		}
		fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s |\n", v.path, escape(text), escape(kind(found)), escape(v.comment))
	}
	return b.String()
}

// kind says what a value may be.
func kind(p map[string]any) string {
	if of, ok := p["anyOf"].([]any); ok {
		var all []string
		for _, one := range of {
			if one, ok := one.(map[string]any); ok {
				all = append(all, kind(one))
			}
		}
		return strings.Join(all, " or ")
	}
	if of, ok := p["enum"].([]any); ok {
		var all []string
		for _, one := range of {
			all = append(all, fmt.Sprintf("`%q`", one))
		}
		return strings.Join(all, ", ")
	}
	text := fmt.Sprint(p["type"])
	if items, ok := p["items"].(map[string]any); ok {
		text += " of " + kind(items)
	}
	if low, ok := p["minimum"]; ok {
		text += fmt.Sprintf(", from %v", low)
	}
	if high, ok := p["maximum"]; ok {
		text += fmt.Sprintf(", to %v", high)
	}
	if pattern, ok := p["pattern"]; ok {
		text += fmt.Sprintf(" like `%s`", pattern)
	}
	return text
}

func escape(s string) string { return strings.ReplaceAll(s, "|", "\\|") }
