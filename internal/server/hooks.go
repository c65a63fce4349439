package server

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/lint"
	"github.com/kagent-dev/khook/internal/store"
)

const yamlType = "application/yaml"

// Format is how Hooks are answered with.
type Format struct {
	Format string `query:"format" enum:"json,yaml" doc:"yaml exports manifests that kubectl apply takes, as Accept: application/yaml does; all that were selected, without pages."`
	Accept string `header:"Accept" hidden:"true"`
}

func (f Format) asYAML() bool {
	if f.Format != "" {
		return f.Format == "yaml"
	}
	return f.Accept != "" && negotiate(f.Accept, []string{"application/json", yamlType}) == yamlType
}

// hooksInput selects Hooks.
type hooksInput struct {
	NamespaceFilter
	Paging
	Format
}

type hookInput struct {
	HookPath
	Format
}

// rawAnswer is a body that is written as it is.
type rawAnswer struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

func (s *Server) registerHooks() {
	schemas := s.api.OpenAPI().Components.Schemas
	doc := func(path, id, summary, description string, schema *huma.Schema, errs ...int) huma.Operation {
		return huma.Operation{
			OperationID: id, Method: http.MethodGet, Path: api.Base + path, Tags: []string{tagHooks}, Summary: summary, Description: description,
			Errors: append(errs, commonErrors...),
			Responses: map[string]*huma.Response{"200": {Description: "OK", Content: map[string]*huma.MediaType{
				"application/json": {Schema: schema}, yamlType: {Schema: &huma.Schema{Type: huma.TypeString, Description: "Manifests, separated by ---."}},
			}}},
		}
	}
	huma.Register(s.api, doc("/hooks", "listHooks", "List Hooks", "With status, conditions and how they did in the last 24 hours; by namespace and name.",
		huma.SchemaFromType(schemas, reflect.TypeFor[api.Page[api.Hook]]())), s.listHooks)
	huma.Register(s.api, doc("/hooks/{namespace}/{name}", "getHook", "Get a Hook", "With status, conditions and how it did in the last 24 hours.",
		huma.SchemaFromType(schemas, reflect.TypeFor[api.Hook]()), http.StatusNotFound), s.getHook)
	s.registerValidate()
}

func (s *Server) listHooks(ctx context.Context, in *hooksInput) (*huma.StreamResponse, error) {
	if err := s.allow(ctx, in.Namespace); err != nil {
		return nil, err
	}
	var list v1alpha2.HookList
	// They are not copied: all of them together can be large.
	if err := s.cfg.Hooks.List(ctx, &list, client.InNamespace(in.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, s.storeError(ctx, fmt.Errorf("list Hooks: %w", err))
	}
	list.Items = slices.Clone(list.Items)
	slices.SortFunc(list.Items, func(a, b v1alpha2.Hook) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	if in.asYAML() {
		return s.exportAll(list.Items), nil //nolint:contextcheck // it is written in the context of the answer
	}
	query := "hooks in " + in.Namespace
	p, err := in.page(query, 2)
	if err != nil {
		return nil, err
	}
	rows, more := hooksAfter(list.Items, p)
	page := pageOf(in.Paging, rows, store.Total{N: len(list.Items), More: more}, query,
		func(h v1alpha2.Hook) []any { return []any{h.Namespace, h.Name} }, func(v1alpha2.Hook) api.Hook { return api.Hook{} })
	page.Items = []api.Hook{}
	return s.hooksPage(ctx, page, rows)
}

// hooksAfter is the page of the sorted Hooks.
func hooksAfter(all []v1alpha2.Hook, p store.Paging) (page []v1alpha2.Hook, more bool) {
	from := p.Offset
	if len(p.After) == 2 {
		namespace, name := fmt.Sprint(p.After[0]), fmt.Sprint(p.After[1])
		from, _ = slices.BinarySearchFunc(all, 0, func(h v1alpha2.Hook, _ int) int {
			if cmp.Or(cmp.Compare(h.Namespace, namespace), cmp.Compare(h.Name, name)) <= 0 {
				return -1
			}
			return 1
		})
	}
	from = min(from, len(all))
	to := min(from+p.Limit, len(all))
	return all[from:to], to < len(all)
}

func (s *Server) getHook(ctx context.Context, in *hookInput) (*rawAnswer, error) {
	if err := s.allow(ctx, in.Namespace); err != nil {
		return nil, err
	}
	var h v1alpha2.Hook
	if err := s.cfg.Hooks.Get(ctx, client.ObjectKey{Namespace: in.Namespace, Name: in.Name}, &h); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, huma.Error404NotFound(fmt.Sprintf("there is no Hook %s in namespace %s", incident.Clean(in.Name, 253), incident.Clean(in.Namespace, 63)))
		}
		return nil, s.storeError(ctx, fmt.Errorf("get a Hook: %w", err))
	}
	if in.asYAML() {
		return exported(h)
	}
	shaped, err := s.hookOf(ctx, &h)
	if err != nil {
		return nil, err
	}
	return jsonDocument(shaped)
}

func jsonDocument(v any) (*rawAnswer, error) {
	text, err := json.Marshal(v)
	return &rawAnswer{"application/json", append(text, '\n')}, err
}

// exported are manifests that kubectl apply takes: without what the server sets.
func exported(hooks ...v1alpha2.Hook) (*rawAnswer, error) {
	var out bytes.Buffer
	for i := range hooks {
		text, err := manifest(&hooks[i])
		if err != nil {
			return nil, err
		}
		if i > 0 {
			out.WriteString("---\n")
		}
		out.Write(text)
	}
	return &rawAnswer{yamlType, out.Bytes()}, nil
}

// lastApplied is what kubectl apply notes; it makes it anew.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

func manifest(h *v1alpha2.Hook) ([]byte, error) {
	metadata := map[string]any{"name": h.Name, "namespace": h.Namespace}
	if len(h.Labels) > 0 {
		metadata["labels"] = h.Labels
	}
	annotations := maps.Clone(h.Annotations)
	delete(annotations, lastApplied)
	if len(annotations) > 0 {
		metadata["annotations"] = annotations
	}
	return yaml.Marshal(map[string]any{
		"apiVersion": v1alpha2.SchemeGroupVersion.String(), "kind": "Hook", "metadata": metadata, "spec": h.Spec,
	})
}

// statisticsRange is what the statistics of a Hook in a list are about.
const statisticsRange = 24 * time.Hour

// hookOf is a Hook with what khook knows of it.
func (s *Server) hookOf(ctx context.Context, h *v1alpha2.Hook) (api.Hook, error) {
	shaped := shapeOf(h)
	statistics, err := s.statisticsOf(ctx, *h)
	if err != nil {
		return shaped, err
	}
	shaped.Statistics = statistics[0]
	pauses, err := s.pausesOf(ctx)
	if err != nil {
		return shaped, err
	}
	shaped.Paused = pauseFor(h, pauses)
	return shaped, nil
}

// pauseFor is the pause that stops a Hook's calls; nil if none does.
func pauseFor(h *v1alpha2.Hook, all delivery.Pauses) *api.Pause {
	p, paused := all.Of(delivery.HookRef{Namespace: h.Namespace, Name: h.Name}, time.Now())
	if !paused {
		return nil
	}
	shaped := api.PauseOf(&p)
	return &shaped
}

// shapeOf is a Hook as the cluster has it.
func shapeOf(h *v1alpha2.Hook) api.Hook {
	shaped := api.Hook{
		Namespace: h.Namespace, Name: h.Name, UID: string(h.UID), Generation: h.Generation, CreatedAt: h.CreationTimestamp.UTC(),
		Ready: "Unknown", Suspended: h.Spec.Suspend, Events: []string{}, Agents: []string{}, Spec: api.HookSpec{HookSpec: h.Spec}, Status: api.HookStatus{HookStatus: h.Status},
	}
	if ready := meta.FindStatusCondition(h.Status.Conditions, v1alpha2.ConditionReady); ready != nil {
		shaped.Ready, shaped.Reason, shaped.Message = string(ready.Status), ready.Reason, ready.Message
	}
	for i := range h.Spec.EventConfigurations {
		ec := &h.Spec.EventConfigurations[i]
		shaped.Events = appendNew(shaped.Events, ec.EventType)
		shaped.Agents = appendNew(shaped.Agents, hook.AgentOf(h.Namespace, ec).String())
	}
	return shaped
}

// statisticsOf is what the history says of Hooks, in their order. It asks for all of them at once.
func (s *Server) statisticsOf(ctx context.Context, hooks ...v1alpha2.Hook) ([]api.HookStatistics, error) {
	refs := make([]delivery.HookRef, len(hooks))
	for i := range hooks {
		refs[i] = delivery.HookRef{Namespace: hooks[i].Namespace, Name: hooks[i].Name}
	}
	now := time.Now()
	from, to := now.Add(-statisticsRange).Truncate(time.Hour), now.Truncate(time.Hour).Add(time.Hour)
	summaries, err := s.cfg.Reader.HookSummaries(ctx, refs, from, to, now.Add(-time.Hour))
	if err != nil {
		return nil, s.storeError(ctx, err)
	}
	statistics := make([]api.HookStatistics, len(hooks))
	for i, ref := range refs {
		summary := summaries[ref]
		statistics[i] = api.HookStatistics{TimeRange: "24h", ActiveIncidents: summary.Open, LastFired: summary.LastFired, Deliveries: summary.Deliveries, CallsLastHour: summary.Budgeted}
		countStatistics(&statistics[i], summary.Counts)
	}
	return statistics, nil
}

func countStatistics(st *api.HookStatistics, counts map[string]int64) {
	var m api.HookMetrics
	countMetrics(&m, counts)
	st.Events = m.Events.Total
	st.Succeeded = m.Deliveries.ByState[delivery.Succeeded]
	st.Skipped = m.Deliveries.Skipped
	st.Failed = m.Deliveries.Ended - st.Succeeded - st.Skipped
	st.Recovered = m.Outcomes.Recovered
	st.Tokens = m.Tokens.Total
}

func appendNew(all []string, one string) []string {
	if one == "" || slices.Contains(all, one) {
		return all
	}
	return append(all, one)
}

type validateInput struct {
	ContentType string `header:"Content-Type" hidden:"true"`
	RawBody     []byte `contentType:"application/yaml"`
}

func (s *Server) registerValidate() {
	huma.Register(s.api, huma.Operation{
		OperationID: "validateHooks", Method: http.MethodPost, Path: api.Base + "/hooks/validate", Tags: []string{tagHooks}, Summary: "Check Hooks before they are applied",
		Description: "YAML or JSON, one or several documents, at most 256 KiB, or as much as khook's memory allows. The rules are those of the CRD and of the controller; nothing is stored. " +
			"The answer is 200 also for Hooks with errors: valid says whether they are right.",
		MaxBodyBytes: s.cfg.Limits.MaxBody, SkipValidateBody: true, BodyReadTimeout: 20 * time.Second,
		Errors: append([]int{http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType}, commonErrors...),
	}, s.validate)
}

// manifestTypes are the content types of manifests.
var manifestTypes = []string{yamlType, "application/x-yaml", "text/yaml", "text/x-yaml", "application/json"}

func (s *Server) validate(ctx context.Context, in *validateInput) (*jsonAnswer[lint.Report], error) {
	sent, _, err := mime.ParseMediaType(in.ContentType)
	if err != nil || !slices.Contains(manifestTypes, sent) {
		return nil, huma.ErrorWithHeaders(huma.Error415UnsupportedMediaType("send the Hooks as "+strings.Join([]string{yamlType, "application/json"}, " or ")+
			`, such as: curl -H "Content-Type: application/yaml" --data-binary @hook.yaml`), http.Header{"Accept-Post": {yamlType + ", application/json"}})
	}
	if len(bytes.TrimSpace(in.RawBody)) == 0 {
		return nil, huma.Error400BadRequest("the body is empty: send at least one Hook")
	}
	turn, err := s.enterValidation(ctx)
	if err != nil {
		status, detail := s.explainNoRoom(err)
		return nil, huma.ErrorWithHeaders(huma.NewError(status, detail), http.Header{"Retry-After": {retrySoon}})
	}
	defer turn.Leave()
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	return &jsonAnswer[lint.Report]{s.cfg.Validate(ctx, in.RawBody)}, nil
}

// checkTime is how long a text with Hooks may be checked, but for the Hook that is being looked at then; the report says
// what was not. It is far less than others wait for their turn, or one text kept everybody from checking
// theirs (503).
const checkTime = 5 * time.Second
