// Command khook watches a Kubernetes cluster for failures and calls AI agents about them.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"
	_ "golang.org/x/crypto/x509roots/fallback" // where the system has no certificate authorities: khook's image has none
)

// version is set by the build; see Makefile.
var version = ""

// cli is the command line: one field a subcommand.
type cli struct {
	Controller  controllerCmd  `cmd:"" help:"Watch a cluster and call agents for the Hooks in it."`
	Events      eventsCmd      `cmd:"" help:"List events: what happened."`
	Incidents   incidentsCmd   `cmd:"" help:"List incidents, or tell the story of one."`
	Deliveries  deliveriesCmd  `cmd:"" help:"List the calls to agents, tell the story of one, and act on it."`
	Hooks       hooksCmd       `cmd:"" help:"List Hooks with how they do, or export them."`
	Stats       statsCmd       `cmd:"" help:"Count events over time, and how Hooks do."`
	DeadLetters deadLettersCmd `cmd:"" name:"dead-letters" help:"List, replay or drop what khook saw and could not record."`
	Health      healthCmd      `cmd:"" help:"Tell how khook does, and what is wrong."`
	Completion  completionCmd  `cmd:"" help:"Print the completion script of a shell."`
	Replay      replayCmd      `cmd:"" help:"Tell what khook would have said and done about recorded failures."`
	Validate    validateCmd    `cmd:"" help:"Check Hooks before they are applied."`
	OpenAPI     openapiCmd     `cmd:"" name:"openapi" help:"Print the document that describes the HTTP API."`
	Version     versionCmd     `cmd:"" help:"Print the version."`
}

// streams are where a command writes to.
type streams struct {
	out, err io.Writer
}

func main() { os.Exit(untilSignal()) }

// untilSignal runs the command line of the process until it ends or is told to.
func untilSignal() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return Main(ctx, os.Args[1:], streams{os.Stdout, os.Stderr})
}

// Main executes the command line and returns the exit code: 0, 1 for a failure, 2 for wrong usage.
func Main(ctx context.Context, args []string, io streams) int {
	return new(cli).run(ctx, args, io)
}

func (c *cli) run(ctx context.Context, args []string, io streams) int {
	exit := -1
	parser, err := kong.New(c, kong.Name("khook"),
		kong.Description("khook notices that something in a Kubernetes cluster went wrong, and calls the AI agent that a Hook names for it."),
		kong.UsageOnError(), kong.Writers(io.out, io.err), kong.Exit(func(code int) { exit = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}),
		kong.Configuration(yamlFlags), kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(io))
	if err != nil {
		fmt.Fprintln(io.err, "khook:", err)
		return 2
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if exit >= 0 {
		return exit
	}
	if err != nil {
		fmt.Fprintf(io.err, "khook: %v\nRun \"khook --help\" for usage.\n", err)
		return 2
	}
	if err := parsed.Run(); err != nil {
		fmt.Fprintln(io.err, "khook:", err)
		return 1
	}
	return 0
}

type versionCmd struct{}

// Run prints the version.
func (versionCmd) Run(io streams) error {
	_, err := fmt.Fprintln(io.out, "khook", buildVersion())
	return err
}

// buildVersion is the version of the build, or of the module if it was built by go install.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
