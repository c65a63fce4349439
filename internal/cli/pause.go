package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/incident"
)

// scopeFlags are whose calls are meant.
type scopeFlags struct {
	Hook      string `arg:"" optional:"" name:"hook" complete:"hooks" help:"This Hook: NAMESPACE/NAME, or NAME with -n."`
	Namespace string `short:"n" complete:"namespaces" help:"The Hooks of this namespace." placeholder:"NS"`
	All       bool   `help:"All Hooks of all namespaces."`
	apiFlags
}

// Validate checks what kong can't.
func (f *scopeFlags) Validate() error {
	switch {
	case f.All && (f.Namespace != "" || f.Hook != ""):
		return errors.New("--all means all Hooks of all namespaces: leave out -n and the Hook, or --all")
	case !f.All && f.Namespace == "" && f.Hook == "":
		return errors.New("say whose calls: a Hook (NAMESPACE/NAME), -n NAMESPACE, or --all")
	}
	return nil
}

// body is how the API is told.
func (f *scopeFlags) body() (map[string]any, error) {
	switch {
	case f.All:
		return map[string]any{"all": true}, nil
	case f.Hook == "":
		return map[string]any{"namespace": f.Namespace}, nil
	}
	ns, name, err := hookName(f.Hook, f.Namespace)
	return map[string]any{"namespace": ns, "hook": name}, err
}

// post sends a wish about a scope, and prints the sentences that say what became of it.
func (f *scopeFlags) post(ctx context.Context, env Env, path string, body map[string]any, tell func(raw []byte) error) error {
	client, err := f.connect(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	raw, err := client.Post(ctx, path, body)
	if err != nil {
		return err
	}
	if p := f.display(env); !p.forPeople() {
		return p.raw(raw)
	}
	if err := tell(raw); err != nil {
		return fmt.Errorf("khook's answer can't be read (is it another version?): %w", err)
	}
	return nil
}

// pauseCmd is khook pause.
type pauseCmd struct {
	scopeFlags
	Reason string        `required:"" help:"Why, for those who will find it paused." placeholder:"TEXT"`
	For    time.Duration `help:"For how long, such as 2h; until somebody resumes if it is not given." placeholder:"DURATION"`
	Cancel bool          `help:"Also tell the agents that are at work for these Hooks to stop."`
}

// Help is shown below the flags.
func (pauseCmd) Help() string {
	return `Calls stop at once, also those that wait. What happens is still recorded, and what still fails when calls are resumed is called for then. A pause survives restarts of khook, and applying Hooks does not end it. Agents that are at work go on, and can be answered, unless --cancel is given.

  khook pause --all --reason "the agent restarts healthy Pods"
  khook resume --all`
}

// Run pauses calls.
func (c *pauseCmd) Run(ctx context.Context, env Env) error {
	body, err := c.body()
	if err != nil {
		return err
	}
	body["reason"], body["cancel"] = c.Reason, c.Cancel
	if c.For != 0 {
		body["for"] = c.For.String()
	}
	return c.post(ctx, env, "/pause", body, func(raw []byte) error {
		var done api.Paused
		if err := json.Unmarshal(raw, &done); err != nil {
			return err
		}
		fmt.Fprintln(env.Out, pausedSentence(&done.Pause))
		if done.Hooks != nil && *done.Hooks == 0 {
			fmt.Fprintln(env.Err, "khook: warning: there is no such Hook now: if that is a typing error, nothing was stopped")
		}
		if c.Cancel {
			fmt.Fprintf(env.Out, "%s %s being canceled: agents that work on it are told to stop (khook deliveries)\n", plural(done.Canceled, "delivery"), incident.Are(done.Canceled))
		}
		return nil
	})
}

// pausedSentence says what is paused, by whom, until when and why.
func pausedSentence(p *api.Pause) string {
	until := "until somebody resumes them"
	if !p.Ends.IsZero() {
		until = "until " + clockZone(p.Ends)
	}
	return fmt.Sprintf("calls of %s are paused %s (%s: %s)", scopeOf(p), until, p.By, p.Reason)
}

func scopeOf(p *api.Pause) string {
	switch {
	case p.Namespace == "":
		return "all Hooks"
	case p.Hook == "":
		return "the Hooks of namespace " + p.Namespace
	}
	return "the Hook " + p.Namespace + "/" + p.Hook
}

// scopeArgs names a scope as the command line does.
func scopeArgs(p *api.Pause) string {
	switch {
	case p.Namespace == "":
		return "--all"
	case p.Hook == "":
		return "-n " + p.Namespace
	}
	return p.Namespace + "/" + p.Hook
}

// resumeCmd is khook resume.
type resumeCmd struct{ scopeFlags }

// Help is shown below the flags.
func (resumeCmd) Help() string {
	return `Ends the pause of exactly what is named, and tells which other pauses are left. A group whose calls the loop guard holds back is let through by khook deliveries resume.`
}

// Run ends a pause.
func (c *resumeCmd) Run(ctx context.Context, env Env) error {
	body, err := c.body()
	if err != nil {
		return err
	}
	return c.post(ctx, env, "/resume", body, func(raw []byte) error {
		var done api.Resumed
		if err := json.Unmarshal(raw, &done); err != nil {
			return err
		}
		if done.Ended {
			fmt.Fprintln(env.Out, "calls are resumed: agents are called for what still fails")
		} else {
			fmt.Fprintln(env.Out, "there was no such pause")
		}
		for i := range done.Still {
			fmt.Fprintf(env.Out, "still: %s; %s resume %s ends that\n", pausedSentence(&done.Still[i]), env.name(), scopeArgs(&done.Still[i]))
		}
		return nil
	})
}
