package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/kagent-dev/khook/internal/api"
)

// healthCmd is khook health.
type healthCmd struct{ apiFlags }

// Help is shown below the flags.
func (healthCmd) Help() string {
	return `Tells how khook does, and what is wrong. What is wrong is for those who may list Hooks in all namespaces, or get the nonResourceURL /diagnostics; others are told a word.

The exit code is 0 for healthy and degraded, and 1 for unhealthy.`
}

var errUnhealthy = errors.New("khook is unhealthy")

// Run prints the health.
func (c *healthCmd) Run(ctx context.Context, env Env) error {
	client, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	raw, err := client.Health(ctx)
	if err != nil {
		return err
	}
	var h api.Health
	if err := json.Unmarshal(raw, &h); err != nil {
		return fmt.Errorf("khook's answer can't be read (is it another version?): %w", err)
	}
	p := c.display(env)
	if p.forPeople() {
		p.health(&h)
	} else if err := p.raw(json.RawMessage(raw)); err != nil {
		return err
	}
	if h.Status == api.Unhealthy {
		return errUnhealthy
	}
	return nil
}

func (p *display) health(h *api.Health) {
	p.field("Status", string(h.Status))
	for _, reason := range h.Reasons {
		p.field("Reason", reason)
	}
	for _, warning := range h.Warnings {
		p.field("Warning", warning)
	}
	if h.Version == "" {
		p.field("Details", "for those who may list Hooks in all namespaces, or get the nonResourceURL /diagnostics")
		return
	}
	p.field("Version", h.Version)
	p.field("Up", seconds(h.UptimeSeconds))
	if h.Replica.Leader != "" {
		p.field("Leader", fmt.Sprintf("%s, term %d, for %s", h.Replica.Leader, h.Replica.Term, p.age(h.Replica.Since)))
	}
	if h.Replica.Name != h.Replica.Leader && h.Replica.Name != "" {
		p.field("Replica", fmt.Sprintf("%s, %s behind, %.1f s", h.Replica.Name, plural(int(h.Replica.LagChanges), "change"), h.Replica.LagSeconds))
	}
	p.field("Pipeline", fmt.Sprintf("%s, %s", h.Pipeline.State, plural(h.Pipeline.OpenIncidents, "open incident")))
	for _, s := range h.Plugins {
		p.field("Source", fmt.Sprintf("%s %s %s, last contact %s ago %s", s.Name, s.Namespace, s.State, p.age(s.LastContact), s.Error))
	}
	if !h.Kagent.CheckedAt.IsZero() {
		p.field("Kagent", fmt.Sprintf("%s, %s ago", h.Kagent.Status, p.age(h.Kagent.CheckedAt.Round(time.Second))))
	}
}
