package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// Bounds of what is asked to say why.
const (
	whyHooks     = 20 // of a namespace
	whyIncidents = 20 // of a Pod
)

// Explain says what would be decided about an incident now by each configuration of a Hook, in the order of its list; ev is the
// event that is asked about, or nil. It must write nothing.
type Explain func(ctx context.Context, hook delivery.HookRef, inc *incident.Incident, ev *incident.Event) ([]delivery.Checklist, error)

// WhyAbout names the failure that is asked about, in one of three ways.
type WhyAbout struct {
	Pod      string `query:"pod" maxLength:"253" pattern:"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$" patternDescription:"the name of a Pod (lower-case letters, digits, - and .)" doc:"Name of a Pod: of its incidents the one that is open and the newest, of a type that the Hook names." example:"cart-0"`
	Incident string `query:"incident" maxLength:"64" doc:"ID of an incident."`
	Event    int64  `query:"event" minimum:"0" doc:"ID of an event."`
}

// one is an error unless exactly one way is used.
func (a WhyAbout) one() error {
	n := 0
	for _, used := range []bool{a.Pod != "", a.Incident != "", a.Event != 0} {
		if used {
			n++
		}
	}
	if n != 1 {
		return huma.Error400BadRequest("say what the question is about: one of the query parameters pod, incident and event")
	}
	return nil
}

type hookWhyInput struct {
	HookPath
	WhyAbout
}

type whyInput struct {
	NamespaceFilter
	WhyAbout
}

const whyDoc = "The way from the failure to the agent as a checklist, up to the first no. What was decided about an event is read from its decision; what would be decided now is found by the same rules as decisions are, and said to be so. " +
	"Needs the right for the namespace, as the Hook's events do; an incident or event of a namespace whose Hooks the caller may not list is not found."

func (s *Server) registerWhy() {
	getRoute(s, "whyHook", "/hooks/{namespace}/{name}/why", tagHooks, "Tell why a Hook called its agent, or did not", whyDoc, s.whyHook, with404)
	getRoute(s, "why", "/why", tagHooks, "Tell why the Hooks of a namespace called their agents, or did not",
		whyDoc+" namespace is needed with pod. At most 20 Hooks are asked.", s.why, with404)
}

// failure is what is asked about.
type failure struct {
	namespace, pod string
	incidents      []*incident.Incident // of the Pod, the open ones first, each by time, newest first; none if khook recorded none
	event          *incident.Event      // that is asked about; nil for an incident or a Pod
}

// find looks for the failure, and refuses what the caller may not know of.
func (s *Server) find(ctx context.Context, namespace string, about WhyAbout) (failure, error) {
	if about.Pod != "" {
		found, _, err := s.cfg.Reader.ListIncidents(ctx, store.IncidentQuery{Namespace: namespace, Name: about.Pod, Descending: true}, store.Paging{Limit: whyIncidents})
		if err != nil {
			return failure{}, s.storeError(ctx, err)
		}
		slices.SortStableFunc(found, func(a, b *incident.Incident) int { return cmp.Compare(boolRank(b.Open()), boolRank(a.Open())) })
		return failure{namespace: namespace, pod: about.Pod, incidents: found}, nil
	}
	f := failure{}
	id, lookup := about.Incident, error(nil)
	if about.Event != 0 {
		if f.event, lookup = s.cfg.Reader.Event(ctx, about.Event); lookup == nil {
			id = f.event.IncidentID
		}
	}
	inc := &incident.Incident{}
	if lookup == nil {
		var found *incident.Incident
		if found, lookup = s.cfg.Reader.Incident(ctx, id); lookup == nil {
			inc = found
		}
	}
	if err := s.allowFound(ctx, lookup, delivery.HookRef{Namespace: inc.Resource.Namespace}); err != nil {
		return failure{}, err
	}
	return failure{inc.Resource.Namespace, inc.Resource.Name, []*incident.Incident{inc}, f.event}, nil
}

func boolRank(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (s *Server) whyHook(ctx context.Context, in *hookWhyInput) (api.Why, error) {
	if err := s.allow(ctx, in.Namespace); err != nil {
		return api.Why{}, err
	}
	if err := in.one(); err != nil {
		return api.Why{}, err
	}
	f, err := s.find(ctx, in.Namespace, in.WhyAbout)
	if err != nil {
		return api.Why{}, err
	}
	var h v1alpha2.Hook
	err = s.cfg.Hooks.Get(ctx, client.ObjectKey{Namespace: in.Namespace, Name: in.Name}, &h)
	missing := apierrors.IsNotFound(err)
	if err != nil && !missing {
		return api.Why{}, s.storeError(ctx, fmt.Errorf("get a Hook: %w", err))
	}
	h.Namespace, h.Name = in.Namespace, in.Name
	leave, err := s.enterWhy(ctx)
	if err != nil {
		return api.Why{}, err
	}
	defer leave()
	why, err := s.whyOf(ctx, &h, f)
	if err == nil && missing && !why.Fits {
		return api.Why{}, huma.Error404NotFound(fmt.Sprintf("there is no Hook %s in namespace %s, nor a decision of one about this", in.Name, in.Namespace))
	}
	return why, err
}

func (s *Server) why(ctx context.Context, in *whyInput) (api.WhyHooks, error) {
	var answer api.WhyHooks
	if err := in.one(); err != nil {
		return answer, err
	}
	if in.Pod != "" {
		if in.Namespace == "" {
			return answer, wrongParameter("namespace", "", "say which namespace the Pod is in")
		}
		if err := s.allow(ctx, in.Namespace); err != nil {
			return answer, err
		}
	}
	f, err := s.find(ctx, in.Namespace, in.WhyAbout)
	if err != nil {
		return answer, err
	}
	if in.Namespace != "" && in.Namespace != f.namespace {
		return answer, s.storeError(ctx, store.ErrNotFound)
	}
	return s.whyAll(ctx, f)
}

// whyAll answers for the Hooks of the failure's namespace.
func (s *Server) whyAll(ctx context.Context, f failure) (api.WhyHooks, error) {
	answer := api.WhyHooks{Hooks: []api.Why{}}
	var list v1alpha2.HookList
	if err := s.cfg.Hooks.List(ctx, &list, client.InNamespace(f.namespace), client.UnsafeDisableDeepCopy); err != nil {
		return answer, s.storeError(ctx, fmt.Errorf("list Hooks: %w", err))
	}
	hooks := slices.Clone(list.Items)
	slices.SortFunc(hooks, func(a, b v1alpha2.Hook) int { return cmp.Compare(a.Name, b.Name) })
	answer.Truncated = len(hooks) > whyHooks
	leave, err := s.enterWhy(ctx)
	if err != nil {
		return answer, err
	}
	defer leave()
	for i := range hooks[:min(len(hooks), whyHooks)] {
		one, err := s.whyOf(ctx, &hooks[i], f)
		if err != nil {
			return answer, err
		}
		answer.Hooks = append(answer.Hooks, one)
	}
	slices.SortStableFunc(answer.Hooks, func(a, b api.Why) int {
		return cmp.Or(cmp.Compare(boolRank(b.Fits), boolRank(a.Fits)), cmp.Compare(len(b.Answers[0].Steps), len(a.Answers[0].Steps)))
	})
	return answer, nil
}

// enterWhy waits for a turn: match expressions are evaluated, so that it shares the places of those who have Hooks checked.
func (s *Server) enterWhy(ctx context.Context) (leave func(), err error) {
	turn, err := s.enterValidation(ctx)
	if err != nil {
		status, detail := s.explainNoRoom(err)
		return nil, huma.ErrorWithHeaders(huma.NewError(status, detail), http.Header{"Retry-After": {retrySoon}})
	}
	return turn.Leave, nil
}

// whyOf answers for one Hook.
func (s *Server) whyOf(ctx context.Context, h *v1alpha2.Hook, f failure) (api.Why, error) {
	ref := delivery.HookRef{Namespace: h.Namespace, Name: h.Name}
	why := api.Why{Hook: api.Name(ref), ResourceName: f.pod}
	inc := f.chosen(h)
	if inc == nil {
		why.Answers = []api.WhyAnswer{api.WhyAnswerOf(delivery.Checklist{}, s.unseen(f))}
		return why, nil
	}
	why.IncidentID, why.EventType = inc.ID, api.EventType(inc.Type)
	decided, event, err := s.decided(ctx, ref, inc, f.event)
	if err != nil {
		return why, s.storeError(ctx, err)
	}
	why.EventID = event
	seen := api.WhyStep{Step: delivery.StepSeen, OK: true, Text: f.saw(inc)}
	for i := range decided {
		why.Fits = true
		why.Answers = append(why.Answers, api.WhyAnswerOf(decided[i].Checklist(), seen))
	}
	if why.Fits && !inc.Open() {
		return why, nil // nothing more will be decided
	}
	now, err := s.cfg.Explain(ctx, ref, inc, f.event)
	if err != nil {
		return why, s.storeError(ctx, err)
	}
	fitting := slices.DeleteFunc(slices.Clone(now), func(c delivery.Checklist) bool { return !fits(c) })
	switch {
	case len(fitting) > 0:
		why.Fits = true
	case !why.Fits:
		fitting = nearest(now)
	}
	for _, c := range fitting {
		why.Answers = append(why.Answers, api.WhyAnswerOf(c, seen))
	}
	if len(why.Answers) == 0 {
		none := api.WhyStep{Step: delivery.StepType, Text: "this khook knows no configuration of the Hook: it was deleted, or khook has not seen it yet"}
		why.Answers = []api.WhyAnswer{{Basis: "now", Steps: []api.WhyStep{seen, none}}}
	}
	return why, nil
}

// fits says whether a configuration is about the failure, whatever becomes of it.
func fits(c delivery.Checklist) bool {
	first, no := c.First()
	return c.Disposition != "" || !no || first.Name == delivery.StepOpen
}

// nearest is the checklist that came furthest, if there is any.
func nearest(all []delivery.Checklist) []delivery.Checklist {
	best := -1
	for i := range all {
		if best < 0 || len(all[i].Steps) > len(all[best].Steps) {
			best = i
		}
	}
	if best < 0 {
		return nil
	}
	return all[best : best+1]
}

// decided is what the Hook decided about the event that is asked about, or the newest of the incident, whose ID is returned.
func (s *Server) decided(ctx context.Context, ref delivery.HookRef, inc *incident.Incident, asked *incident.Event) ([]delivery.Decision, int64, error) {
	if asked == nil {
		newest, err := s.cfg.Reader.NewestEvents(ctx, inc.ID, 1)
		if err != nil || len(newest) == 0 {
			return nil, 0, err
		}
		asked = newest[0]
	}
	found, err := s.cfg.Reader.HookDecisions(ctx, ref, []int64{asked.ID})
	return found, asked.ID, err
}

// chosen is the incident that the Hook is asked about: the first of a type that it names, else the first; nil if there is none.
func (f failure) chosen(h *v1alpha2.Hook) *incident.Incident {
	for _, inc := range f.incidents {
		if slices.ContainsFunc(h.Spec.EventConfigurations, func(ec v1alpha2.EventConfiguration) bool { return ec.EventType == string(inc.Type) }) {
			return inc
		}
	}
	if len(f.incidents) == 0 {
		return nil
	}
	return f.incidents[0]
}

// saw says what khook recorded, and what else of the Pod.
func (f failure) saw(inc *incident.Incident) string {
	text := fmt.Sprintf("khook recorded %s as incident %s, first seen %s", inc.Subject(), inc.ID, inc.FirstSeen.UTC().Format(time.RFC3339))
	if f.event != nil {
		text += fmt.Sprintf(", and the event %d of it", f.event.ID)
	}
	var further []string
	for _, other := range f.incidents {
		if other.ID != inc.ID {
			further = append(further, fmt.Sprintf("%s %s", other.Type, other.ID))
		}
	}
	if len(further) > 0 {
		text += "; further incidents of the Pod: " + strings.Join(further, ", ")
	}
	return text
}

// unseen says why khook may have recorded nothing of a Pod. What it says of the watches is what those may know who may not
// read the health: no errors, and no names of other namespaces.
func (s *Server) unseen(f failure) api.WhyStep {
	step := api.WhyStep{Step: delivery.StepSeen, Text: fmt.Sprintf("khook has recorded nothing of Pod %s in namespace %s: ", f.pod, f.namespace)}
	if !s.cfg.State.Leader() {
		step.Text += "this replica stands by, so that it does not know how the watches do; khook health of the one that leads says it"
		return step
	}
	watched, since := false, time.Time{}
	for _, p := range s.cfg.State.Plugins() {
		if p.Namespace != "" && p.Namespace != f.namespace {
			continue
		}
		watched = true
		if p.State != "up" {
			step.Text += fmt.Sprintf("the watch %s is %s since %s; what happens meanwhile is listed when it is back (khook health says why)", p.Name, p.State, p.Since.UTC().Format(time.RFC3339))
			return step
		}
		if p.Since.After(since) {
			since = p.Since
		}
	}
	if !watched {
		step.Text += "it does not watch that namespace (its flag --namespaces)"
		return step
	}
	step.Text += "nothing of the types " + eventTypeNames() + " was detected"
	if !since.IsZero() {
		step.Text += fmt.Sprintf("; it watches since %s, and what was over long before was not taken up", since.UTC().Format(time.RFC3339))
	}
	step.Text += "; what failed longer ago than the history reaches is forgotten. Is the name right?"
	return step
}

func eventTypeNames() string {
	var names []string
	for _, t := range incident.EventTypes() {
		names = append(names, string(t))
	}
	return strings.Join(names, ", ")
}

// errNoExplain is of a server that was made without what says it, as for its document.
var errNoExplain = errors.New("this server can't say what would be decided")

func noExplain(context.Context, delivery.HookRef, *incident.Incident, *incident.Event) ([]delivery.Checklist, error) {
	return nil, errNoExplain
}
