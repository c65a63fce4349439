package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/replay"
)

// replayCmd is khook replay.
type replayCmd struct {
	Output           string        `short:"o" help:"Form of the story: table or json." default:"table" enum:"table,json"`
	Hooks            []string      `name:"hook" help:"YAML file with Hooks to try; may be repeated." sep:"none" type:"existingfile" placeholder:"HOOK.yaml"`
	Settle           time.Duration `help:"How long time goes on after the last record, with nothing new." default:"15m"`
	PendingAfter     time.Duration `help:"How long a Pod may be Pending before that is an event." default:"1m"`
	Stabilization    time.Duration `help:"How long a Pod must be healthy before its incidents end as recovered." default:"2m"`
	QuietAfter       time.Duration `help:"How long nothing new must be seen before an incident ends as quiet." default:"10m"`
	CatchUp          time.Duration `help:"How far back failures from before the start of the recording are taken up." default:"1h"`
	MaxCallsPerHour  int           `name:"max-calls-per-hour" help:"How many calls all Hooks together may make within an hour; 0 for no limit." default:"0"`
	AgentNamespaces  []string      `help:"Namespaces whose agents every Hook may call, as for the controller." default:"kagent" placeholder:"NS,..."`
	AllowPlainValues bool          `help:"Let Hooks ask for plain values, as for the controller."`
	Recordings       []string      `arg:"" name:"recording" help:"Recordings, folders of them (*.jsonl), or - for the standard input: a JSON object a line, {\"t\": seconds, \"type\": \"ADDED\", \"object\": {...}}."`
}

// Help is shown below the flags.
func (replayCmd) Help() string {
	return `Feeds recordings of a cluster's watch events through the same detectors, history, Hooks and dispatcher as the controller, on a virtual clock, and prints what was recorded, which agents would have been called when and with which prompts, and which calls would not have been made and why. Nothing is called; agents are taken to finish at once, and to change nothing.

khook record makes recordings. Several of them are independent of each other. Times are seconds of the recording. A Hook without a namespace is tried in the namespace of the recorded Pods.`
}

// Validate refuses a file that is not there before anything is replayed.
func (c *replayCmd) Validate() error {
	for i, path := range c.Recordings {
		if path == "-" && slices.Contains(c.Recordings[:i], "-") {
			return errors.New("the standard input can be read once only")
		}
		if _, err := os.Stat(path); path != "-" && err != nil {
			return err
		}
	}
	return nil
}

// paths are the recordings that are named, and those in the folders.
func (c *replayCmd) paths() ([]string, error) {
	var paths []string
	for _, named := range c.Recordings {
		if info, err := os.Stat(named); named == "-" || err != nil || !info.IsDir() {
			paths = append(paths, named)
			continue
		}
		inside, err := filepath.Glob(filepath.Join(globEscaper.Replace(named), "*.jsonl"))
		if err != nil {
			return nil, fmt.Errorf("look for recordings in %s: %w", named, err)
		}
		if len(inside) == 0 {
			return nil, fmt.Errorf("look for recordings in %s: there is no *.jsonl file in it", named)
		}
		paths = append(paths, inside...)
	}
	return paths, nil
}

// globEscaper takes their meaning from characters of a folder's name.
var globEscaper = strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `\`, `\\`)

// Run replays the recordings and prints the story.
func (c *replayCmd) Run(ctx context.Context, env Env) error {
	if c.MaxCallsPerHour < 0 {
		return fmt.Errorf("--max-calls-per-hour is %d: it must be at least 1, or 0 for no limit", c.MaxCallsPerHour)
	}
	o := c.options()
	hooks, err := replay.ReadHooks(c.Hooks, o.Policy)
	if err != nil {
		return err
	}
	paths, err := c.paths()
	if err != nil {
		return err
	}
	story, err := replay.Run(ctx, paths, hooks, o)
	if err != nil {
		return err
	}
	if c.Output == "json" {
		enc := json.NewEncoder(env.Out)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(story)
	}
	return printStory(env.Out, story, len(c.Hooks) > 0)
}

func (c *replayCmd) options() replay.Options {
	return replay.Options{
		Policy:       hook.Policy{AgentNamespaces: c.AgentNamespaces, PlainValues: c.AllowPlainValues},
		PendingAfter: c.PendingAfter, Stabilization: c.Stabilization, QuietAfter: c.QuietAfter, CatchUp: c.CatchUp,
		MaxCallsPerHour: c.MaxCallsPerHour, Settle: c.Settle,
	}
}
