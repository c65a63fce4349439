package hook

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/prompt"
)

// Defaults of optional fields (Hook API).
const (
	DefaultDedupWindow = 10 * time.Minute
	DefaultTimeout     = time.Hour
)

// Bounds of the Hook API.
const (
	MaxConfigs = 50
	maxMatch   = 1_024 // characters
)

// Policy says what the operator allows hooks to do.
type Policy struct {
	// AgentNamespaces lists the namespaces, beside the hook's own, whose agents a hook may
	// call; "*" stands for all.
	AgentNamespaces []string
	// DedupWindow is that of configurations that do not say; DefaultDedupWindow if 0.
	DedupWindow time.Duration
	// PlainValues lets configurations ask for prompts without marks around what the cluster says.
	PlainValues bool
}

// Allows says whether a Hook of a namespace may call an agent.
func (p Policy) Allows(hookNamespace string, agent delivery.AgentRef) bool {
	return agent.Namespace == hookNamespace ||
		slices.Contains(p.AgentNamespaces, agent.Namespace) || slices.Contains(p.AgentNamespaces, "*")
}

// WhyMarked says what becomes of a wish for plain values that the operator does not grant. The Hook
// is called for all the same: to lose a call would be worse than the marks in its prompt, and to leave
// the marks out would be what the operator did not allow.
const WhyMarked = "the operator does not allow plain values, so what the cluster says stays marked in the prompt: " +
	"remove this, or let the operator set --allow-plain-values"

// StillMarked returns the fields of a Hook that ask for plain values in vain.
func (p Policy) StillMarked(h *v1alpha2.Hook) []string {
	var fields []string
	for i := range h.Spec.EventConfigurations {
		if h.Spec.EventConfigurations[i].PlainValues && !p.PlainValues {
			fields = append(fields, fmt.Sprintf("spec.eventConfigurations[%d].plainValues", i))
		}
	}
	return fields
}

// Config is one compiled event configuration of a Hook.
type Config struct {
	Hook        delivery.HookRef
	HookUID     string
	Key         string // tells it from the Hook's others, see assignKeys
	EventType   incident.EventType
	Agent       delivery.AgentRef
	Window      time.Duration
	Timeout     time.Duration
	GroupBy     v1alpha2.GroupBy
	GroupWait   time.Duration
	Verify      time.Duration // 0: the controller's default
	StallAfter  time.Duration
	OnStall     delivery.OnStall
	MaxPerHour  int       // 0: no limit
	HookPerHour int       // of the whole Hook; 0: no limit
	HookTokens  int       // of the language model within 24 hours, of the whole Hook; 0: no limit
	ResumedAt   time.Time // calls from before do not count for the loop guard
	EvenIfEnded bool      // also call when everything has ended before the call
	Suspended   bool
	OnePerCause bool
	Invalid     string // why it can't be used; "" if it can

	content      string // see contentOf
	Selector     labels.Selector
	selectorCost uint64 // of asking it, see Meter
	match        *matchProgram
	prompt       *prompt.Template
}

// Evaluates says whether it takes an evaluation, of a selector or a match expression, to find out
// whether the configuration is about an event.
func (c *Config) Evaluates() bool { return c.match != nil || c.selectorCost > 0 }

// Matches says whether the configuration is about the event.
func (c *Config) Matches(f incident.Facts) bool { return NewMeter().Judge(c, f) == Match }

// Groups are the names that Group can return for the signal, by any configuration.
func Groups(s *incident.Signal) []string {
	names := make([]string, 0, 3)
	for _, by := range []v1alpha2.GroupBy{v1alpha2.GroupByResource, v1alpha2.GroupByNode, v1alpha2.GroupByWorkload} {
		if name := (&Config{GroupBy: by}).Group(s); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// Group returns the group of resources that share one call.
func (c *Config) Group(s *incident.Signal) string {
	switch {
	case c.GroupBy == v1alpha2.GroupByResource:
		return s.Resource.Kind + "/" + s.Resource.Name
	case c.GroupBy == v1alpha2.GroupByNode && s.Node != "":
		return "Node/" + s.Node
	default:
		return s.Workload.String()
	}
}

// Render fills the configuration's prompt. The error is of a fault in khook: a prompt that compiles can
// be rendered for every event.
func (c *Config) Render(f incident.Facts) (prompt string, err error) {
	defer recovered(&err)
	return c.prompt.Render(f), nil
}

// Compile turns a Hook into its configurations, and lists what is wrong with it. A
// configuration with an error is in the list too, marked Invalid.
func Compile(h *v1alpha2.Hook, policy Policy) ([]*Config, field.ErrorList) {
	var errs field.ErrorList
	path := field.NewPath("spec", "eventConfigurations")
	switch n := len(h.Spec.EventConfigurations); {
	case n == 0:
		errs = append(errs, field.Required(path, "name at least one event and the agent to call for it"))
	case n > MaxConfigs:
		errs = append(errs, field.TooMany(path, n, MaxConfigs))
	}
	if _, err := callsOf(h.Spec.MaxCallsPerHour, field.NewPath("spec", "maxCallsPerHour")); err != nil {
		errs = append(errs, err)
	}
	if _, err := tokensOf(h); err != nil {
		errs = append(errs, err)
	}
	names := map[string]bool{}
	var configs []*Config
	for i := range h.Spec.EventConfigurations {
		ec := &h.Spec.EventConfigurations[i]
		c, cerrs := guarded(h, ec, path.Index(i), policy)
		cerrs = append(nameOf(ec.Name, names, path.Index(i).Child("name")), cerrs...)
		if len(cerrs) > 0 {
			c.Invalid = cerrs.ToAggregate().Error()
		}
		configs, errs = append(configs, c), append(errs, cerrs...)
	}
	assignKeys(h, configs)
	return configs, errs
}

// guarded compiles a configuration. A fault in what compiles it makes that configuration invalid, and
// nothing else: the same Hook would else end khook again at each start.
func guarded(h *v1alpha2.Hook, ec *v1alpha2.EventConfiguration, path *field.Path, policy Policy) (c *Config, errs field.ErrorList) {
	var fault error
	func() {
		defer recovered(&fault)
		c, errs = compileConfig(h, ec, path, policy)
	}()
	if fault != nil {
		c = &Config{
			Hook: delivery.HookRef{Namespace: h.Namespace, Name: h.Name}, HookUID: string(h.UID),
			EventType: incident.EventType(ec.EventType), Suspended: h.Spec.Suspend,
		}
		errs = field.ErrorList{field.InternalError(path, fault)}
	}
	return c, errs
}

// recovered turns a panic into an error.
func recovered(err *error) {
	if fault := recover(); fault != nil {
		*err = fmt.Errorf("khook has a fault that this Hook shows, please report it: %s", incident.Clean(fmt.Sprint(fault), maxFault))
	}
}

// maxFault bounds what is told of a panic, in bytes.
const maxFault = 256

func compileConfig(h *v1alpha2.Hook, ec *v1alpha2.EventConfiguration, path *field.Path, policy Policy) (*Config, field.ErrorList) {
	c := &Config{
		Hook:    delivery.HookRef{Namespace: h.Namespace, Name: h.Name},
		HookUID: string(h.UID), EventType: incident.EventType(ec.EventType),
		GroupBy: ec.GroupBy, Suspended: h.Spec.Suspend,
		OnePerCause: h.Spec.OnePerCause == nil || *h.Spec.OnePerCause,
		EvenIfEnded: ec.EvenIfRecovered, ResumedAt: ResumedAt(h),
	}
	var errs field.ErrorList
	add := func(e ...*field.Error) { errs = append(errs, e...) }
	if !c.EventType.Valid() {
		add(field.NotSupported(path.Child("eventType"), ec.EventType, incident.EventTypes()))
	}
	if !slices.Contains([]v1alpha2.GroupBy{"", v1alpha2.GroupByWorkload, v1alpha2.GroupByResource, v1alpha2.GroupByNode}, ec.GroupBy) {
		add(field.NotSupported(path.Child("groupBy"), ec.GroupBy,
			[]v1alpha2.GroupBy{v1alpha2.GroupByWorkload, v1alpha2.GroupByResource, v1alpha2.GroupByNode}))
	}
	var err *field.Error
	if c.Agent, err = agentOf(h.Namespace, ec, path, policy); err != nil {
		add(err)
	}
	if c.prompt, err = promptOf(ec, path.Child("prompt"), policy); err != nil {
		add(err)
	}
	if c.Selector, err = selectorOf(ec, path.Child("selector")); err != nil {
		add(err)
	}
	c.selectorCost = selectorCost(c.Selector)
	c.content = contentOf(ec, c.Agent, c.Selector)
	if c.match, err = matchOf(ec, path.Child("match")); err != nil {
		add(err)
	}
	if c.Window, err = durationOf(ec.DedupWindow, cmp.Or(policy.DedupWindow, DefaultDedupWindow), time.Second, maxDuration, path.Child("dedupWindow")); err != nil {
		add(err)
	}
	if c.Timeout, err = durationOf(ec.Timeout, DefaultTimeout, 10*time.Second, maxDuration, path.Child("timeout")); err != nil {
		add(err)
	}
	if c.GroupWait, err = durationOf(ec.GroupWait, 0, 0, time.Hour, path.Child("groupWait")); err != nil {
		add(err)
	}
	if c.Verify, err = durationOf(ec.VerifyWindow, 0, time.Second, maxDuration, path.Child("verifyWindow")); err != nil {
		add(err)
	}
	add(c.compileStall(ec, path)...)
	if c.MaxPerHour, err = callsOf(ec.MaxCallsPerHour, path.Child("maxCallsPerHour")); err != nil {
		add(err)
	}
	c.HookPerHour, _ = callsOf(h.Spec.MaxCallsPerHour, nil) // told once, see Compile
	c.HookTokens, _ = tokensOf(h)
	return c, errs
}

// compileStall reads what is said about stalled tasks.
func (c *Config) compileStall(ec *v1alpha2.EventConfiguration, path *field.Path) (errs field.ErrorList) {
	var err *field.Error
	if c.StallAfter, err = durationOf(ec.StallAfter, delivery.DefaultStallAfter, time.Minute, maxDuration, path.Child("stallAfter")); err != nil {
		errs = append(errs, err)
	}
	c.OnStall = delivery.OnStall(cmp.Or(ec.OnStall, v1alpha2.OnStallWait))
	if !slices.Contains(delivery.OnStalls(), c.OnStall) {
		errs = append(errs, field.NotSupported(path.Child("onStall"), c.OnStall, delivery.OnStalls()))
	}
	return errs
}

// callsOf reads a number of calls in an hour; 0 if there is no limit.
func callsOf(n *int32, path *field.Path) (int, *field.Error) {
	switch {
	case n == nil:
		return 0, nil
	case *n < 1:
		return 0, field.Invalid(path, *n, "must be at least 1; use spec.suspend to stop all calls")
	}
	return int(*n), nil
}

func tokensOf(h *v1alpha2.Hook) (int, *field.Error) {
	switch n := h.Spec.MaxTokensPerDay; {
	case n == nil:
		return 0, nil
	case *n < 1:
		return 0, field.Invalid(field.NewPath("spec", "maxTokensPerDay"), *n, "must be at least 1; use spec.suspend to stop all calls")
	default:
		return int(*n), nil
	}
}

// ResumedAt is when a person last let calls through, as the Hook's annotation says; zero if it says
// nothing that can be read.
func ResumedAt(h *v1alpha2.Hook) time.Time {
	at, err := time.Parse(time.RFC3339, h.Annotations[v1alpha2.AnnotationResumedAt])
	if err != nil {
		return time.Time{}
	}
	return at
}

// AgentOf is the agent that a configuration names, in either of its two forms; without a name if it
// names none.
func AgentOf(namespace string, ec *v1alpha2.EventConfiguration) delivery.AgentRef {
	agent := delivery.AgentRef{Namespace: namespace}
	switch {
	case ec.AgentId != nil:
		ns, name, qualified := strings.Cut(*ec.AgentId, "/")
		if !qualified {
			ns, name = namespace, ns
		}
		agent = delivery.AgentRef{Namespace: ns, Name: name}
	case ec.AgentRef != nil:
		agent.Name = ec.AgentRef.Name
		if ns := ec.AgentRef.Namespace; ns != nil && *ns != "" {
			agent.Namespace = *ns
		}
	}
	return agent
}

// agentOf reads the agent and holds it against the policy.
func agentOf(namespace string, ec *v1alpha2.EventConfiguration, path *field.Path, policy Policy) (delivery.AgentRef, *field.Error) {
	agent := AgentOf(namespace, ec)
	id := path.Child("agentId")
	switch {
	case ec.AgentId != nil && ec.AgentRef != nil:
		return agent, field.Forbidden(path.Child("agentRef"), "agentId and agentRef both name an agent: keep one and remove the other")
	case ec.AgentRef != nil:
		id = path.Child("agentRef")
	case ec.AgentId == nil:
		return agent, field.Required(id, `name the agent to call: set agentId ("namespace/name" or "name") or agentRef`)
	}
	if len(validation.IsDNS1123Label(agent.Namespace)) > 0 || len(validation.IsDNS1123Subdomain(agent.Name)) > 0 {
		return agent, field.Invalid(id, agent.String(), `must be "namespace/name" or "name", in lower-case letters, digits, '-' and '.'`)
	}
	if !policy.Allows(namespace, agent) {
		return agent, field.Forbidden(id, fmt.Sprintf(
			"agent %s is in a namespace that hooks may not call: use an agent in %s, or let the operator add %s to --agent-namespaces",
			agent, strings.Join(append([]string{namespace}, policy.AgentNamespaces...), " or "), agent.Namespace))
	}
	return agent, nil
}

// parsePrompt is prompt.Parse, but for a test of what a fault in it does.
var parsePrompt = prompt.Parse

func promptOf(ec *v1alpha2.EventConfiguration, path *field.Path, policy Policy) (*prompt.Template, *field.Error) {
	if n := utf8.RuneCountInString(ec.Prompt); n > prompt.MaxLength {
		return nil, field.TooLong(path, "", prompt.MaxLength)
	}
	p, err := parsePrompt(ec.Prompt)
	if err != nil {
		return nil, field.Invalid(path, incident.Truncate(ec.Prompt, 80), err.Error())
	}
	if ec.PlainValues && policy.PlainValues {
		p = p.WithPlainValues()
	}
	return p, nil
}

func selectorOf(ec *v1alpha2.EventConfiguration, path *field.Path) (labels.Selector, *field.Error) {
	if ec.Selector == nil {
		return labels.Everything(), nil
	}
	sel, err := metav1.LabelSelectorAsSelector(ec.Selector)
	if err != nil {
		return labels.Nothing(), field.Invalid(path, metav1.FormatLabelSelector(ec.Selector), err.Error())
	}
	return sel, nil
}

func matchOf(ec *v1alpha2.EventConfiguration, path *field.Path) (*matchProgram, *field.Error) {
	if utf8.RuneCountInString(ec.Match) > maxMatch {
		return nil, field.TooLong(path, "", maxMatch)
	}
	e, err := parseMatch(ec.Match)
	if err != nil {
		return nil, field.Invalid(path, ec.Match, err.Error())
	}
	return e, nil
}

// maxDuration bounds most durations of the Hook API.
const maxDuration = 24 * time.Hour

func durationOf(d *metav1.Duration, unset, least, most time.Duration, path *field.Path) (time.Duration, *field.Error) {
	if d == nil {
		return unset, nil
	}
	if d.Duration < least || d.Duration > most {
		return unset, field.Invalid(path, d.Duration.String(), fmt.Sprintf("must be from %s to %gh", least, most.Hours()))
	}
	return d.Duration, nil
}
