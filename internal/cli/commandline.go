package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/kagent-dev/khook/internal/app"
	"github.com/kagent-dev/khook/internal/incident"
)

// cli is the command line: one field a subcommand.
type cli struct {
	Controller  controllerCmd `cmd:"" help:"Watch a cluster and call agents for the Hooks in it."`
	ShowVersion versionFlag   `name:"version" help:"Print the version, as khook version does." hidden:""`

	Events      eventsCmd      `cmd:"" aliases:"event,ev" help:"List events: what happened."`
	Incidents   incidentsCmd   `cmd:"" aliases:"incident,inc" help:"List incidents, or tell the story of one."`
	Deliveries  deliveriesCmd  `cmd:"" aliases:"delivery,dl" help:"List the calls to agents, tell the story of one, and act on it."`
	Why         whyCmd         `cmd:"" help:"Tell why a Hook called its agent about a failure, or did not."`
	Hooks       hooksCmd       `cmd:"" aliases:"hook,hk" help:"List Hooks with how they do, or export them."`
	Stats       statsCmd       `cmd:"" help:"Count events over time, and how Hooks do."`
	Agents      agentsCmd      `cmd:"" aliases:"agent" help:"Tell how agents do: calls, what came of them, times, questions and tokens."`
	Dashboard   dashboardCmd   `cmd:"" help:"Open the dashboard in the browser, with the rights of the kube context."`
	Inbox       inboxCmd       `cmd:"" help:"List what waits for a person, and how to answer it."`
	Approve     approveCmd     `cmd:"" help:"Approve what an agent asks for, by the ID of its question."`
	Reject      rejectCmd      `cmd:"" help:"Reject what an agent asks for, by the ID of its question."`
	Reply       replyCmd       `cmd:"" help:"Answer an agent's question, by the ID of the question."`
	Pause       pauseCmd       `cmd:"" help:"Stop the calls of Hooks, at once and across restarts."`
	Resume      resumeCmd      `cmd:"" aliases:"unpause" help:"Let the calls of Hooks go on that were paused."`
	DeadLetters deadLettersCmd `cmd:"" name:"dead-letters" help:"List, replay or drop what khook saw and could not record."`
	Health      healthCmd      `cmd:"" help:"Tell how khook does, and what is wrong."`
	Check       checkCmd       `cmd:"" help:"Look whether khook can be installed, or does its work, and say what to do."`
	Notify      notifyCmd      `cmd:"" help:"Try whether people can be told."`
	Completion  completionCmd  `cmd:"" help:"Print the completion script of a shell."`
	Record      recordCmd      `cmd:"" help:"Record what a cluster says of its Pods, for khook replay."`
	Replay      replayCmd      `cmd:"" help:"Tell what khook would have said and done about recorded failures."`
	Validate    validateCmd    `cmd:"" help:"Check Hooks before they are applied."`
	OpenAPI     openapiCmd     `cmd:"" name:"openapi" help:"Print the document that describes the HTTP API."`
	Version     versionCmd     `cmd:"" help:"Print the version."`
	Offer       offerCmd       `cmd:"" hidden:"" help:"Print what a word could become, for the completion scripts."`
}

// Env is what a command line runs in.
type Env struct {
	Out, Err io.Writer  // standard output and standard error
	Version  string     // of the build
	Program  string     // as which khook was called; kubectl-khook is the plugin of kubectl
	Faults   app.Faults // that a test injects into khook controller
}

// name is what a person types to run khook.
func (e Env) name() string {
	if e.Program == "kubectl-khook" {
		return "kubectl khook"
	}
	return "khook"
}

// Main executes the command line and returns the exit code: 0, 1 for a failure, 2 for wrong usage. It returns when the
// command is done, or soon after ctx ends.
func Main(ctx context.Context, args []string, env Env) int {
	exit := -1
	c := &cli{Controller: controllerCmd{faults: env.Faults}}
	parser, err := kong.New(c, kong.Name(env.name()),
		kong.Description("khook notices that something in a Kubernetes cluster went wrong, and calls the AI agent that a Hook names for it."),
		kong.UsageOnError(), kong.Writers(env.Out, env.Err), kong.Exit(func(code int) { exit = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}),
		eventTypes(), durations(), orderVariables(), kong.Configuration(yamlFlags), kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(env))
	if err != nil {
		fmt.Fprintln(env.Err, "khook:", err)
		return 2
	}
	switch {
	case len(args) == 0:
		args = []string{"--help"}
	case args[0] == "help":
		args = append(slices.Clone(args[1:]), "--help")
	}
	if hint := misplaced(args, env.name()); hint != "" {
		fmt.Fprintln(env.Err, "khook:", hint)
		return 2
	}
	parsed, err := parser.Parse(args)
	if exit >= 0 {
		return exit
	}
	if err != nil {
		fmt.Fprintf(env.Err, "khook: %v\nRun \"%s --help\" for usage.\n", err, env.name())
		return 2
	}
	if err := parsed.Run(); err != nil {
		fmt.Fprintln(env.Err, "khook:", err)
		if _, ok := errors.AsType[usageError](err); ok {
			return 2
		}
		return 1
	}
	return 0
}

// otherWords are the words that other tools begin with, and what to write here.
var otherWords = map[string]string{
	"get": "%[2]s incidents, events, deliveries or hooks lists, and %[2]s incidents show ID tells one", "list": "%[2]s incidents, events, deliveries or hooks lists",
	"describe": "%[2]s incidents show ID, or %[2]s deliveries show ID", "show": "%[2]s incidents show ID, or %[2]s deliveries show ID",
	"logs": "%[2]s deliveries logs ID, or %[2]s events -f", "explain": "%[2]s why POD", "status": "%[2]s incidents --status firing, or %[2]s health",
	"watch": "%[2]s events -f, or -w with a list",
}

// misplaced says what to write instead of a command line that is another tool's; empty if it is not.
func misplaced(args []string, program string) string {
	first := args[0]
	if instead := otherWords[first]; instead != "" {
		return fmt.Sprintf("there is no command %q: write "+instead, first, program)
	}
	if strings.HasPrefix(first, "-") && !slices.Contains([]string{"-h", "--help", "--version"}, first) && len(args) > 1 {
		return fmt.Sprintf("flags go after the command, such as %s incidents -n shop", program)
	}
	return ""
}

// usageError is an error of which the command line itself is the cause, whatever khook would answer.
type usageError string

func (e usageError) Error() string { return string(e) }

// wrongUsage is an error that says how the command is to be used.
func wrongUsage(format string, args ...any) error { return usageError(fmt.Sprintf(format, args...)) }

// eventTypes are the variables event_types, for enumerations, and event_types_prose, for texts, of flags.
func eventTypes() kong.Vars {
	var names []string
	for _, t := range incident.EventTypes() {
		names = append(names, string(t))
	}
	last := len(names) - 1
	return kong.Vars{"event_types": strings.Join(names, ","), "event_types_prose": strings.Join(names[:last], ", ") + " or " + names[last]}
}

// versionFlag is --version.
type versionFlag bool

// BeforeReset prints the version, whatever else the command line says. kong calls it once the flag is seen.
func (versionFlag) BeforeReset(app *kong.Kong, env Env) error {
	fmt.Fprintln(env.Out, "khook", env.Version)
	app.Exit(0)
	return nil
}

// versionCmd is khook version.
type versionCmd struct{}

// Run prints the version.
func (versionCmd) Run(env Env) error {
	_, err := fmt.Fprintln(env.Out, "khook", env.Version)
	return err
}
