package cli

import (
	"cmp"
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
	Clusters    clustersCmd    `cmd:"" aliases:"cluster" help:"List the clusters whose histories are in the database, or let one take over a history."`
	Migrate     migrateCmd     `cmd:"" help:"Copy a history from SQLite into PostgreSQL."`
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
	args = asHere(parser.Model, inOrder(parser.Model, args))
	if hint := cmp.Or(misplaced(args, env.name()), misspelled(parser.Model, args, env.name())); hint != "" {
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
	if strings.HasPrefix(first, "-") && !slices.Contains(alone, first) && len(args) > 1 {
		return fmt.Sprintf("which command? Such as %s incidents -n shop", program)
	}
	if first == "record" && slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--from-history") }) {
		return fmt.Sprintf("a recording can't be made from the history: that has what khook detected, and not the versions of Pods that %[1]s replay plays. "+
			"Record what comes next with %[1]s record -n NAMESPACE -o FILE; %[1]s incidents show ID and %[1]s why ID tell what is known of what was", program)
	}
	return ""
}

// alone are the flags that need no command.
var alone = []string{"-h", "--help", "--version"}

// inOrder puts flags that are before the command behind it: kubectl -n shop get pods is what fingers know.
func inOrder(model *kong.Application, args []string) []string {
	at := 0
	for at < len(args) && strings.HasPrefix(args[at], "-") && !slices.Contains(alone, args[at]) && args[at] != "--" {
		if !strings.Contains(args[at], "=") && takesValue(model.Node, args[at]) {
			at++
		}
		at++
	}
	if at == 0 || at >= len(args) || !isCommand(model, args[at]) {
		return args
	}
	flags, rest := args[:at], args[at:]
	end := slices.Index(rest, "--")
	if end < 0 {
		end = len(rest)
	}
	return slices.Concat(rest[:end], flags, rest[end:])
}

// asHere are words as kubectl has them in khook's order: get incidents, describe delivery ID.
func asHere(model *kong.Application, args []string) []string {
	if len(args) < 2 || !isCommand(model, args[1]) {
		return args
	}
	switch args[0] {
	case "get", "list":
		return args[1:]
	case "describe", "show":
		for _, n := range model.Children {
			if (n.Name == args[1] || slices.Contains(n.Aliases, args[1])) && slices.ContainsFunc(n.Children, func(c *kong.Node) bool { return c.Name == "show" }) {
				return slices.Concat(args[1:2], []string{"show"}, args[2:])
			}
		}
		return args[1:]
	}
	return args
}

func isCommand(model *kong.Application, word string) bool {
	return slices.ContainsFunc(model.Children, func(n *kong.Node) bool { return n.Name == word || slices.Contains(n.Aliases, word) })
}

// takesValue says whether a flag, as it is written, is followed by its value in the commands that have it.
func takesValue(n *kong.Node, flag string) bool {
	for _, f := range n.Flags {
		if flag == "--"+f.Name || f.Short != 0 && flag == "-"+string(f.Short) || slices.Contains(f.Aliases, strings.TrimPrefix(flag, "--")) {
			return !f.IsBool()
		}
	}
	return slices.ContainsFunc(n.Children, func(child *kong.Node) bool { return takesValue(child, flag) })
}

// misspelled says which subcommand was meant, where the word in its place is a slip of the finger: a command that takes an ID would take it
// for one. No ID is so near to a subcommand, and no KIND/NAME.
func misspelled(model *kong.Application, args []string, program string) string {
	if len(args) < 2 {
		return ""
	}
	at := slices.IndexFunc(model.Children, func(n *kong.Node) bool { return n.Name == args[0] || slices.Contains(n.Aliases, args[0]) })
	if at < 0 {
		return ""
	}
	if meant := nearest(model.Children[at].Children, args[1]); meant != "" {
		return fmt.Sprintf("there is no command \"%s %s\": did you mean %s %s %s?", args[0], args[1], program, args[0], meant)
	}
	return ""
}

// nearest is the command that is one or two slips away from a word; "" if there is none, or the word is one itself.
func nearest(commands []*kong.Node, word string) string {
	best, least := "", 3
	for _, c := range commands {
		for _, name := range append([]string{c.Name}, c.Aliases...) {
			switch d := slips(name, word); {
			case d == 0:
				return ""
			case d < least && d < len(word)-1:
				best, least = name, d
			}
		}
	}
	return best
}

// slips is how many letters have to be changed, added, left out or exchanged with their neighbour to make one word of another.
func slips(a, b string) int {
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
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
