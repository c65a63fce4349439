package lint

import (
	"context"
	"fmt"
	"strings"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/manifest"
)

// Bounds of what Check says.
const (
	maxPrompts = 100       // sample prompts of a report
	maxSamples = 256 << 10 // bytes of all of them
	maxChecked = 500       // event configurations, after which no further Hook is looked at
	maxValues  = 3_000     // of one Hook; the schema's check takes the square of the time
	maxNotes   = 100       // objects that were passed over
	maxWrong   = 1_000     // mistakes, after which no further Hook is looked at
)

// Options say what Hooks are held against.
type Options struct {
	Policy    hook.Policy
	Namespace string // of Hooks that name none; "default" if empty
	Cluster   string // for the sample prompts
	Lookup    Lookup // nil: not asked
}

// SamplePrompt is the prompt of one configuration, rendered for a sample event.
type SamplePrompt struct {
	Hook      string `json:"hook"` // namespace/name
	Config    string `json:"config"`
	EventType string `json:"eventType"`
	Agent     string `json:"agent"` // namespace/name
	Field     string `json:"field"` // such as spec.eventConfigurations[0].prompt
	Prompt    string `json:"prompt"`
}

// Report is what Check has to say. The lists are never nil.
type Report struct {
	Valid    bool           `json:"valid"`    // there are no errors
	Hooks    []string       `json:"hooks"`    // namespace/name of each Hook found
	Errors   []Finding      `json:"errors"`   // at most 200 with the warnings
	Warnings []Finding      `json:"warnings"` // what is allowed, and rarely meant
	Notes    []Finding      `json:"notes"`    // objects of other kinds that were passed over, at most 100
	Prompts  []SamplePrompt `json:"prompts"`  // of the valid configurations, at most 100 and 256 KiB
}

// Check checks the Hooks of a text, which is one or several YAML or JSON documents, by the
// rules of the CustomResourceDefinition and of the controller. The text may come from anyone: it
// is at most 1 MiB and 100 documents.
func Check(ctx context.Context, text []byte, opt Options) Report {
	if opt.Namespace == "" {
		opt.Namespace = "default"
	}
	v := &validator{
		opt: opt, findings: newFindings(), lookups: newLookupCache(opt.Lookup), first: map[string]*candidate{},
		report: Report{Hooks: []string{}, Prompts: []SamplePrompt{}, Notes: []Finding{}},
	}
	manifests := manifest.Read(text, v.unreadable)
	if len(manifests) == 0 && len(v.findings.errors)+len(v.findings.unread) == 0 {
		v.findings.addError(Finding{Document: 1, Line: 1, Message: "there is no Hook in the text: " + notAHook})
	}
	for _, m := range manifests {
		if why := v.stop(ctx); why != "" {
			v.findings.unfinished(Finding{Document: m.Document, Line: m.Position.Line, Message: why})
			break
		}
		v.check(ctx, m)
	}
	if n := len(v.report.Notes); n > 0 && len(v.report.Hooks) == 0 && len(v.findings.errors) == 0 {
		v.findings.addWarning(Finding{Document: 1, Line: 1, Message: "there is no Hook in the text, only what was passed over: " + notAHook})
	}
	v.overlaps(ctx)
	v.findings.report(&v.report)
	return v.report
}

const notAHook = "write apiVersion: kagent.dev/v1alpha2 and kind: Hook"

// validator is one run of Check.
type validator struct {
	opt      Options
	findings *findings
	lookups  *lookupCache
	first    map[string]*candidate // by namespace/name
	checked  []*candidate
	wrong    int // mistakes
	compiled int // event configurations
	shown    int // bytes of sample prompts
	report   Report
}

// candidate is a Hook that is checked.
type candidate struct {
	manifest.Object
	ref      string // namespace/name
	hook     *v1alpha2.Hook
	configs  []*hook.Config
	mistakes []mistake
}

// unreadable takes up why a part of the text can't be read.
func (v *validator) unreadable(p manifest.Problem) {
	found := Finding{Document: p.Document, Line: p.Line, Field: p.Field, Message: p.Message}
	if p.Stops {
		v.findings.unfinished(found)
		return
	}
	v.findings.addError(found)
}

// stop bounds the work that one text may cause: who may have texts checked by a running khook must not be able to keep it from
// its own work. It says why no further Hook is looked at; "" if the next one is.
func (v *validator) stop(ctx context.Context) string {
	switch {
	case ctx.Err() != nil:
		return "there was no time to check this and what follows: check it again"
	case v.wrong > maxWrong:
		return "there are too many mistakes to check this and what follows: correct them and check again"
	case v.compiled >= maxChecked:
		return fmt.Sprintf("there are %d event configurations or more before this, so that it and what follows were not checked: check it in parts", maxChecked)
	}
	return ""
}

// check runs all checks of one object, in the order in which they build on each other: the schema's, whose mistakes are told
// by the API server too; what the controller compiles; other Hooks of the text; the cluster, if there is one. All mistakes are
// told and not only the first, but for those that follow from one: who corrects a text wants to do it once.
func (v *validator) check(ctx context.Context, m manifest.Object) {
	object, ok := v.isHook(m)
	if !ok {
		return
	}
	schema, err := hookSchema()
	if err != nil {
		v.findings.addError(Finding{Document: m.Document, Line: m.Position.Line, Message: err.Error()})
		return
	}
	foreign := serverSet(object)
	meta, mistakes := metadataOf(object, v.opt.Namespace)
	c := &candidate{Object: m, ref: meta.Namespace + "/" + meta.Name, mistakes: mistakes}
	if meta.Name == "" {
		c.ref += meta.GenerateName
	}
	v.report.Hooks = append(v.report.Hooks, incident.Clean(c.ref, maxHookName))
	c.mistakes = append(c.mistakes, schema.check(ctx, object)...)
	c.hook = c.decode(object, meta)
	c.compile(v.opt.Policy)
	v.compiled += len(c.configs)
	v.repeated(c, meta.Name != "")
	v.lookUp(ctx, c)
	v.wrong += len(c.mistakes)
	for _, found := range c.mistakes {
		v.findings.addError(c.finding(found.field, found.message))
	}
	v.warn(c, object, foreign)
	v.reasons(c)
	v.never(c)
	v.render(c)
	v.checked = append(v.checked, c)
}

// otherKind notes an object of another kind, as charts and folders have them beside Hooks. What may be meant as a Hook, and has a
// slip in its kind or its version, is none: nobody would notice that it is not checked.
func (v *validator) otherKind(m manifest.Object, object map[string]any) bool {
	kind, named := object["kind"].(string)
	version, versioned := object["apiVersion"].(string)
	if !named || !versioned || kind == "" || version == "" || nearest(kind, []string{"Hook", "Hooks"}) != "" {
		return false
	}
	if len(v.report.Notes) < maxNotes {
		note := Finding{Document: m.Document, Line: m.Position.Line, Message: fmt.Sprintf("passed over: this is a %s (%s), and khook checks Hooks only", kind, version)}
		note.Message = incident.Clean(note.Message, incident.MaxMessage)
		v.report.Notes = append(v.report.Notes, note)
	}
	return true
}

// isHook refuses what is no Hook of the version that khook knows.
func (v *validator) isHook(m manifest.Object) (map[string]any, bool) {
	object, ok := m.Value.(map[string]any)
	if !ok {
		v.findings.addError(Finding{Document: m.Document, Line: m.Position.Line, Message: "this is no object: " + notAHook})
		return nil, false
	}
	if v.otherKind(m, object) {
		return nil, false
	}
	if left := maxValues; count(object, &left) {
		v.findings.unfinished(Finding{Document: m.Document, Line: m.Position.Line, Message: fmt.Sprintf("this has more than %d values, which are too many to check: make several Hooks of it", maxValues)})
		return nil, false
	}
	for _, want := range []struct{ field, value string }{
		{"apiVersion", v1alpha2.SchemeGroupVersion.String()}, {"kind", "Hook"},
	} {
		if object[want.field] == want.value {
			continue
		}
		message := fmt.Sprintf("must be %s, is %v: khook checks Hooks only", want.value, object[want.field])
		if object[want.field] == nil {
			message = fmt.Sprintf("is missing: write %s: %s", want.field, want.value)
		}
		c := candidate{Object: m}
		v.findings.addError(c.finding(want.field, message))
		ok = false
	}
	return object, ok
}

// count takes the values in a value off what is left, and says whether that was not enough.
func count(value any, left *int) (over bool) {
	*left--
	switch v := value.(type) {
	case map[string]any:
		for _, part := range v {
			if over = over || count(part, left); over {
				break
			}
		}
	case []any:
		for _, part := range v {
			if over = over || count(part, left); over {
				break
			}
		}
	}
	return over || *left < 0
}

// repeated refuses two Hooks of one name.
func (v *validator) repeated(c *candidate, named bool) {
	if first := v.first[c.ref]; named && first != nil {
		v.findings.addError(c.finding("metadata.name", fmt.Sprintf(
			"Hook %s is there twice, first in line %d: give one another name", c.ref, first.Position.Line)))
		return
	}
	v.first[c.ref] = c
}

// render adds the prompts of the valid configurations for a sample event.
func (v *validator) render(c *candidate) {
	for i, config := range c.configs {
		if !c.valid(i) || len(v.report.Prompts) >= maxPrompts || v.shown >= maxSamples {
			continue
		}
		prompt, err := config.Render(SampleFacts(config.EventType, c.hook.Namespace, v.opt.Cluster))
		if err != nil {
			v.findings.addError(c.finding(c.path(i)+".prompt", err.Error()))
			continue
		}
		if v.shown += len(prompt); v.shown > maxSamples {
			continue
		}
		v.report.Prompts = append(v.report.Prompts, SamplePrompt{
			Hook: incident.Clean(c.ref, maxHookName), Config: config.Key, EventType: string(config.EventType),
			Agent: config.Agent.String(), Field: c.path(i) + ".prompt", Prompt: prompt,
		})
	}
}

func (c *candidate) path(config int) string {
	return fmt.Sprintf("spec.eventConfigurations[%d]", config)
}

// valid says whether no mistake was found in a configuration.
func (c *candidate) valid(config int) bool {
	for _, m := range c.mistakes {
		if rest, ok := strings.CutPrefix(m.field, c.path(config)); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return false
		}
	}
	return config < len(c.configs) && c.configs[config].Invalid == ""
}

// finding places a message about a field in the text: in the line of the field or, if that is not there, of the nearest part
// around it; of a prompt that is written as a block, in the very line of the template.
func (c *candidate) finding(field, message string) Finding {
	at, whole := c.Position.At(field)
	line := at.Line
	if inside, ok := templateLine(message); ok && whole && at.Block {
		line = at.Value + inside
	}
	return Finding{Document: c.Document, Line: line, Hook: c.ref, Field: field, Message: message}
}
