package lint

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/hook"
)

// decode turns an object into a Hook as far as that goes, so that the mistakes of one field do not
// hide those of the others: fields with a mistake are left out.
func (c *candidate) decode(object map[string]any, meta *metav1.ObjectMeta) *v1alpha2.Hook {
	h := &v1alpha2.Hook{ObjectMeta: *meta}
	spec, _ := object["spec"].(map[string]any)
	h.Spec.Suspend, _ = spec["suspend"].(bool)
	if one, ok := spec["onePerCause"].(bool); ok {
		h.Spec.OnePerCause = &one
	}
	items, _ := spec["eventConfigurations"].([]any)
	for i, item := range items[:min(len(items), hook.MaxConfigs)] {
		fields, _ := item.(map[string]any)
		h.Spec.EventConfigurations = append(h.Spec.EventConfigurations, c.decodeConfig(i, fields))
	}
	return h
}

func (c *candidate) decodeConfig(i int, fields map[string]any) v1alpha2.EventConfiguration {
	wrong := c.wrongFields(i)
	good := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if wrong[name] {
			continue
		}
		var alone v1alpha2.EventConfiguration
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(map[string]any{name: fields[name]}, &alone); err != nil {
			c.unreadable(i, name, err)
			continue
		}
		good[name] = fields[name]
	}
	var config v1alpha2.EventConfiguration
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(good, &config); err != nil {
		c.mistakes = append(c.mistakes, mistake{c.path(i), err.Error()})
	}
	return config
}

// unreadable notes a field that the schema has nothing against, but that can't be read. A rule
// that failed on it says no more.
func (c *candidate) unreadable(i int, name string, err error) {
	c.mistakes = slices.DeleteFunc(c.mistakes, func(m mistake) bool {
		return m.field == c.path(i) && strings.Contains(m.message, " evaluating rule: ")
	})
	message := err.Error()
	if strings.Contains(message, "duration") {
		message = "must be a duration, such as 30s, 10m or 1h30m"
	}
	c.mistakes = append(c.mistakes, mistake{c.path(i) + "." + name, message})
}

// wrongFields are the fields of a configuration that have a mistake.
func (c *candidate) wrongFields(i int) map[string]bool {
	wrong := map[string]bool{}
	for _, m := range c.mistakes {
		if rest, ok := strings.CutPrefix(m.field, c.path(i)+"."); ok {
			wrong[fieldName(rest)] = true
		}
	}
	return wrong
}

// fieldName is the first part of a path.
func fieldName(path string) string {
	if end := strings.IndexAny(path, ".["); end >= 0 {
		return path[:end]
	}
	return path
}

// compile compiles the Hook and takes up the mistakes that its schema can't know.
func (c *candidate) compile(policy hook.Policy) {
	configs, errs := hook.Compile(c.hook, policy)
	c.configs = configs
	for _, e := range errs {
		if found := (mistake{e.Field, say(e)}); !c.alreadyReported(found) {
			c.mistakes = append(c.mistakes, found)
		}
	}
}

// alreadyReported says whether the schema told a mistake already: on the same field, in the same words, or
// on all of the configurations or of the one that it is in.
func (c *candidate) alreadyReported(found mistake) bool {
	i, rest := configOf(found.field)
	for k, m := range c.mistakes {
		j, path := configOf(m.field)
		switch {
		case j < 0 && (m.field == "spec" || m.field == "spec.eventConfigurations") && len(c.configs) == 0:
			return true
		case i != j || i < 0:
		case m.message == found.message:
			c.mistakes[k].field = found.field // which names the field
			return true
		case path == "" && strings.HasSuffix(m.message, "must be of type object"):
			return true
		case path != "" && fieldOf(path) == fieldOf(rest):
			return true
		}
	}
	return false
}

// fieldOf is the field that a mistake is about; both forms of naming the agent are one.
func fieldOf(path string) string {
	if name := fieldName(path); name != "agentRef" {
		return name
	}
	return "agentId"
}

var configPath = regexp.MustCompile(`^spec\.eventConfigurations\[(\d+)\]\.?`)

// configOf splits a path into the configuration, -1 if it is not in one, and the path inside it.
func configOf(path string) (config int, rest string) {
	found := configPath.FindStringSubmatch(path)
	if found == nil {
		return -1, path
	}
	config, err := strconv.Atoi(found[1])
	if err != nil {
		return -1, path
	}
	return config, path[len(found[0]):]
}

var promptLine = regexp.MustCompile(`^prompt:(\d+):`)

// templateLine is the line of a prompt that an error of its template names.
func templateLine(message string) (line int, ok bool) {
	found := promptLine.FindStringSubmatch(message)
	if found == nil {
		return 0, false
	}
	line, err := strconv.Atoi(found[1])
	return line, err == nil
}

// agentMistaken says whether it is known already that a configuration's agent can't be called.
func (c *candidate) agentMistaken(i int) bool {
	for _, m := range c.mistakes {
		if j, rest := configOf(m.field); j == i && (rest == "" || fieldOf(rest) == "agentId") {
			return true
		}
	}
	return false
}
