package hook

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"
	"time"

	"github.com/kagent-dev/khook/internal/incident"
)

// maxValue bounds each value of the cluster that a prompt may contain, in bytes.
const maxValue = incident.MaxMessage

// Variables are what a prompt template can use. All texts are data of the cluster: cleaned,
// bounded, never template code, and between marks where they are printed (marks.go).
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
	Cluster      string
}

// variables fills the template variables from an event and its incident.
func variables(f Facts) Variables {
	clean := func(s string) string { return incident.Clean(s, maxValue) }
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
		RestartCount: int(f.Signal.RestartCount),
		Count:        int(max(1, f.Signal.Count)),
		FirstSeen:    f.Signal.At.UTC().Format(time.RFC3339),
		Cluster:      clean(f.Cluster),
	}
	if f.Signal.ExitCode != nil {
		v.ExitCode = int(*f.Signal.ExitCode)
	}
	if f.Incident != nil {
		v.Count = int(max(1, f.Incident.Events))
		v.FirstSeen = f.Incident.FirstSeen.UTC().Format(time.RFC3339)
	}
	v.Timestamp, v.Message = v.EventTime, v.EventMessage
	return v
}

// functions are all that a prompt template can call, beside the comparisons, and, or, not, len,
// print and printf of text/template.
var functions = template.FuncMap{
	"upper":    strings.ToUpper,
	"lower":    strings.ToLower,
	"trim":     strings.TrimSpace,
	"quote":    strconv.Quote,
	"contains": func(part, s string) bool { return strings.Contains(s, part) },
	"replace":  func(old, repl, s string) string { return strings.ReplaceAll(s, old, repl) },
	"default": func(fallback, s string) string {
		if s == "" {
			return fallback
		}
		return s
	},
	"truncate": func(n int, s string) string { return incident.Truncate(s, max(n, len(incident.Ellipsis))) },
}

// builtins are the functions of text/template that a prompt may call.
var builtins = []string{"and", "or", "not", "len", "print", "printf", "eq", "ne", "lt", "le", "gt", "ge"}

// Prompt is a parsed prompt template.
type Prompt struct{ tmpl *template.Template }

// ParsePrompt parses and checks a prompt template. What it accepts can be rendered for every
// event: it uses known variables and functions only, and has no loops, so that rendering ends.
// The error names the line and what to change.
func ParsePrompt(text string) (*Prompt, error) {
	if strings.TrimSpace(text) == "" {
		return nil, errors.New("the prompt is empty: write what the agent shall do")
	}
	if strings.ContainsAny(text, markOpen+markClose) {
		return nil, errors.New("the characters " + markOpen + " and " + markClose + " mark data of the cluster and can't be used in a prompt: write others")
	}
	tmpl, err := template.New("prompt").Option("missingkey=error").Funcs(functions).Parse(text)
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "template: "))
	}
	if len(tmpl.Templates()) > 1 {
		return nil, errors.New("define and block can't be used in a prompt")
	}
	if tmpl.Tree == nil || tmpl.Root == nil {
		return nil, errors.New("the prompt is empty: write what the agent shall do")
	}
	if err := check(tmpl.Tree, tmpl.Root); err != nil {
		return nil, err
	}
	mark(tmpl.Tree)
	p := &Prompt{tmpl.Funcs(markFunctions)}
	for _, tried := range []*Prompt{flat(text), p} {
		for _, sample := range samples() {
			if _, err := tried.render(sample); err != nil {
				return nil, err
			}
		}
	}
	return p, nil
}

// flat returns the prompt with both sides of each condition one after the other, and with "and"
// and "or" that look at all their arguments. Rendering it shows the errors of every branch, also
// of those that no sample would take.
func flat(text string) *Prompt {
	all := func(first any, _ ...any) any { return first }
	tmpl := template.Must(template.New("prompt").Funcs(functions).
		Funcs(template.FuncMap{"and": all, "or": all}).Parse(text))
	flatten(tmpl.Root)
	return &Prompt{tmpl}
}

func flatten(list *parse.ListNode) {
	if list == nil {
		return
	}
	var nodes []parse.Node
	for _, n := range list.Nodes {
		branch, ok := n.(*parse.IfNode)
		if !ok {
			nodes = append(nodes, n)
			continue
		}
		flatten(branch.List)
		flatten(branch.ElseList)
		nodes = append(nodes, &parse.ActionNode{NodeType: parse.NodeAction, Pos: branch.Pos, Line: branch.Line, Pipe: branch.Pipe})
		nodes = append(nodes, branch.List.Nodes...)
		if branch.ElseList != nil {
			nodes = append(nodes, branch.ElseList.Nodes...)
		}
	}
	list.Nodes = nodes
}

// Render fills the prompt for an event. It is at most incident.MaxPrompt bytes, longer ones are
// cut.
func (p *Prompt) Render(f Facts) (string, error) { return p.render(variables(f)) }

func (p *Prompt) render(v Variables) (string, error) {
	out := &limitedBuilder{left: incident.MaxPrompt + 1}
	err := p.tmpl.Execute(out, v)
	if err != nil && !errors.Is(err, errFull) {
		return "", errors.New(strings.TrimPrefix(err.Error(), "template: "))
	}
	return finished(out.String()), nil
}

// samples are the variables that a template is tried with when it is parsed: empty and filled,
// so that both sides of a condition are seen.
func samples() []Variables {
	now := time.Date(2024, 1, 15, 10, 30, 0, 0, time.UTC).Format(time.RFC3339)
	return []Variables{{}, {
		EventType: string(incident.OOMKill), ResourceName: "my-app-pod-123", Namespace: "production",
		EventTime: now, Timestamp: now, EventMessage: "Container restarted", Message: "Container restarted",
		Reason: "OOMKilled", Container: "app", Workload: "Deployment/my-app", Node: "node-1",
		RestartCount: 3, ExitCode: 137, Count: 2, FirstSeen: now, Cluster: "prod",
	}}
}

var errFull = errors.New("prompt is full")

type limitedBuilder struct {
	strings.Builder
	left int
}

func (b *limitedBuilder) Write(p []byte) (int, error) {
	if len(p) > b.left {
		n, _ := b.Builder.Write(p[:b.left])
		b.left = 0
		return n, errFull
	}
	b.left -= len(p)
	return b.Builder.Write(p)
}

var _ io.Writer = (*limitedBuilder)(nil)

// check walks the tree and refuses what could fail, loop or blow up when rendered.
func check(tree *parse.Tree, node parse.Node) error {
	switch n := node.(type) {
	case *parse.ListNode:
		return checkList(tree, n)
	case *parse.ActionNode:
		return check(tree, n.Pipe)
	case *parse.IfNode:
		return checkBranch(tree, &n.BranchNode)
	case *parse.WithNode:
		return refuse(tree, n, "with can't be used in a prompt; use if")
	case *parse.RangeNode:
		return refuse(tree, n, "range can't be used in a prompt: there are no lists")
	case *parse.TemplateNode:
		return refuse(tree, n, "template can't be used in a prompt")
	case *parse.PipeNode:
		for _, cmd := range n.Cmds {
			if err := checkCommand(tree, cmd); err != nil {
				return err
			}
		}
	case *parse.FieldNode:
		return checkField(tree, n, n.Ident)
	case *parse.VariableNode:
		if n.Ident[0] == "$" && len(n.Ident) > 1 {
			return checkField(tree, n, n.Ident[1:])
		}
	case *parse.ChainNode:
		return refuse(tree, n, "write a variable on its own, such as {{.ResourceName}}")
	}
	return nil
}

func checkList(tree *parse.Tree, list *parse.ListNode) error {
	if list == nil {
		return nil
	}
	for _, n := range list.Nodes {
		if err := check(tree, n); err != nil {
			return err
		}
	}
	return nil
}

func checkBranch(tree *parse.Tree, n *parse.BranchNode) error {
	return errors.Join(check(tree, n.Pipe), checkList(tree, n.List), checkList(tree, n.ElseList))
}

func checkCommand(tree *parse.Tree, cmd *parse.CommandNode) error {
	for i, arg := range cmd.Args {
		if id, ok := arg.(*parse.IdentifierNode); ok && !callable(id.Ident) {
			return refuse(tree, arg, fmt.Sprintf("function %q can't be used in a prompt", id.Ident))
		}
		if i > 0 && isPrintf(cmd.Args[0]) {
			if s, ok := arg.(*parse.StringNode); i == 1 && (!ok || wide.MatchString(s.Text)) {
				return refuse(tree, arg, "printf needs a constant format without a width of more than two digits")
			}
		}
		if err := check(tree, arg); err != nil {
			return err
		}
	}
	if isPrintf(cmd.Args[0]) && len(cmd.Args) == 1 {
		return refuse(tree, cmd, "printf needs a constant format")
	}
	return nil
}

// wide matches a format whose width or precision has three digits or more, or comes from an argument.
var wide = regexp.MustCompile(`%[^a-zA-Z%]*(\d{3}|\*)`)

func isPrintf(n parse.Node) bool {
	id, ok := n.(*parse.IdentifierNode)
	return ok && id.Ident == "printf"
}

func callable(name string) bool {
	_, ours := functions[name]
	return ours || slices.Contains(builtins, name)
}

func checkField(tree *parse.Tree, n parse.Node, ident []string) error {
	if len(ident) != 1 || !slices.Contains(VariableNames(), ident[0]) {
		return refuse(tree, n, fmt.Sprintf("unknown variable .%s: use one of %s",
			strings.Join(ident, "."), strings.Join(VariableNames(), ", ")))
	}
	return nil
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

func refuse(tree *parse.Tree, n parse.Node, why string) error {
	location, _ := tree.ErrorContext(n)
	return fmt.Errorf("%s: %s", location, why)
}
