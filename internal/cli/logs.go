package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/api/client"
	"github.com/kagent-dev/khook/internal/incident"
)

// deliveriesLogsCmd is khook deliveries logs.
type deliveriesLogsCmd struct {
	ID       string        `arg:"" optional:"" name:"id" complete:"deliveries" help:"ID of the delivery, or its first 6 characters or more."`
	Follow   bool          `short:"f" help:"Go on with what comes, until the delivery has ended or Ctrl-C."`
	Interval time.Duration `help:"How often --follow looks." default:"2s" placeholder:"DURATION"`
	storyFlags
	apiFlags
}

// Run prints the log of a delivery.
func (c *deliveriesLogsCmd) Run(ctx context.Context, env Env) error {
	if c.Follow && !c.forLines() {
		return wrongUsage("--follow prints lines: use it with --output=table, wide or json")
	}
	remote, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer remote.Close()
	id, err := findID(ctx, remote, deliveryShape(), c.ID, c.Last, c.query())
	if err != nil {
		return err
	}
	p := c.display(env)
	printed := 0
	for first := true; ; first = false {
		d, _, err := client.Fetch[loggedDelivery](ctx, remote, "/deliveries/"+url.PathEscape(id), nil)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && (first || isRefusal(err)):
			return err
		case err != nil:
			fmt.Fprintf(env.Err, "khook: %v; trying again\n", err)
		default:
			if first && d.TextsWithheld != "" {
				fmt.Fprintln(env.Err, incident.Clean("what was asked and said is withheld: "+d.TextsWithheld, maxCell))
			}
			if !c.Follow && !p.forPeople() {
				return p.raw(d.Log)
			}
			if err := p.log(d.Log[min(printed, len(d.Log)):]); err != nil {
				return err
			}
			printed = max(printed, len(d.Log))
			if !c.Follow || !d.EndedAt.IsZero() {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(max(c.Interval, leastInterval)):
		}
	}
}

// forLines says whether the form can be printed line by line.
func (f *outputFlags) forLines() bool {
	return f.Output == "table" || f.Output == "wide" || f.Output == "json"
}

// loggedDelivery is a delivery with its log, of which each entry is kept as the server sent it.
type loggedDelivery struct {
	api.Delivery
	Log []json.RawMessage `json:"log"`
}

// log prints entries of a log: each on a line with its time, or as JSON.
func (p *display) log(entries []json.RawMessage) error {
	for _, raw := range entries {
		if !p.forPeople() {
			if err := p.line(raw); err != nil {
				return err
			}
			continue
		}
		var e api.LogEntry
		if err := json.Unmarshal(raw, &e); err != nil {
			return fmt.Errorf("khook's answer can't be read (is it another version?): %w", err)
		}
		for _, line := range logLines(&e) {
			if _, err := fmt.Fprintln(p.out, line); err != nil {
				return err
			}
		}
	}
	return nil
}

// logLines are an entry as it is read: when, who, what and, behind it and below it, the text in its own lines.
func logLines(e *api.LogEntry) []string {
	at := clockZone(e.At)
	first := at + "  " + incident.Clean(strings.Join([]string{cmp.Or(e.By, "khook"), string(e.Kind), e.State, e.Name}, " "), maxCell)
	if strings.TrimSpace(e.Text) == "" {
		return []string{first}
	}
	lines := strings.Split(strings.Trim(e.Text, "\n"), "\n")
	for i, line := range lines {
		line = strings.TrimRight(strings.Map(withoutHarm, strings.ReplaceAll(line, "\t", "    ")), " ")
		if i == 0 {
			lines[i] = first + ": " + line
		} else {
			lines[i] = strings.Repeat(" ", len(at)+2) + line
		}
	}
	return lines
}
