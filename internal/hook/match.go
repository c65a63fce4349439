package hook

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/env"
	"github.com/google/cel-go/ext"

	"github.com/kagent-dev/khook/internal/incident"
)

// celEvent is the variable event of a match expression.
type celEvent struct {
	Type         string            `cel:"type"`
	Reason       string            `cel:"reason"`
	Message      string            `cel:"message"`
	Namespace    string            `cel:"namespace"`
	Name         string            `cel:"name"`
	Container    string            `cel:"container"`
	Node         string            `cel:"node"`
	WorkloadKind string            `cel:"workloadKind"`
	WorkloadName string            `cel:"workloadName"`
	RestartCount int64             `cel:"restartCount"`
	ExitCode     int64             `cel:"exitCode"`
	Count        int64             `cel:"count"`
	Labels       map[string]string `cel:"labels"`
}

func celEventOf(f incident.Facts) *celEvent {
	s, pod := f.Signal, f.Signal.Attributes.PodOrZero()
	e := &celEvent{
		Type: string(s.Type), Reason: s.Reason, Message: s.Message,
		Namespace: s.Resource.Namespace, Name: s.Resource.Name, Container: s.Container, Node: s.Node,
		WorkloadKind: s.Workload.Kind, WorkloadName: s.Workload.Name,
		RestartCount: int64(pod.RestartCount), Count: int64(max(1, s.Count)), Labels: maps.Clone(pod.Labels),
	}
	if e.Labels == nil {
		e.Labels = map[string]string{}
	}
	if pod.ExitCode != nil {
		e.ExitCode = int64(*pod.ExitCode)
	}
	if f.Incident != nil {
		e.Count = f.Incident.Events
	}
	return e
}

// CELEnv is the environment of match expressions, made once.
var CELEnv = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewCustomEnv(append([]cel.EnvOption{
		cel.StdLib(cel.StdLibSubset(env.NewLibrarySubset().AddExcludedFunctions(env.NewFunction("matches")))), // boundedFunctions has it
		ext.NativeTypes(reflect.TypeFor[celEvent](), ext.ParseStructTags(true)),
		cel.Variable("event", cel.ObjectType("hook.celEvent")),
		ext.Strings(),
	}, boundedFunctions()...)...)
})

// matchProgram is a compiled match expression; nil matches everything.
type matchProgram struct {
	text    string
	program cel.Program
}

// parseMatch compiles a match expression. The error says where it is wrong.
func parseMatch(text string) (*matchProgram, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	environment, err := CELEnv()
	if err != nil {
		return nil, fmt.Errorf("set up match expressions: %w", err)
	}
	ast, issues := environment.Parse(text)
	if issues.Err() == nil {
		if err := guardParsed(ast); err != nil {
			return nil, err
		}
		ast, issues = environment.Check(ast)
	}
	if issues.Err() != nil {
		return nil, errors.New(inOwnWords(issues.Errors()))
	}
	if ast.OutputType() != cel.BoolType {
		return nil, fmt.Errorf("must be true or false, is %s: compare it with something", ast.OutputType())
	}
	if err := guardChecked(ast); err != nil {
		return nil, err
	}
	program, err := environment.Program(ast, cel.CostTracking(madeText{}), cel.CostLimit(evaluationBudget), patternCosts())
	if err != nil {
		return nil, err
	}
	return &matchProgram{strings.TrimSpace(text), program}, nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return incident.Clean(line, incident.MaxMessage)
}
