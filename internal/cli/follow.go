package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/api/client"
	"github.com/kagent-dev/khook/internal/feed"
	"github.com/kagent-dev/khook/internal/incident"
)

// follow prints events as they happen.
func (c *eventsCmd) follow(ctx context.Context, env Env, remote *client.Client, q url.Values) error {
	for _, name := range []string{"sort", "limit", "endTime"} {
		q.Del(name)
	}
	if start := q.Get("startTime"); start != "" {
		q.Del("startTime")
		q.Set("since", start)
	}
	p := c.display(env)
	f := &client.Follower{Client: remote, Query: q, Trouble: func(err error) {
		fmt.Fprintf(env.Err, "khook: the stream was lost (%v); coming back\n", err)
	}}
	if p.forPeople() {
		fmt.Fprintf(env.Out, followFormat, "TIME", "TYPE", "STATUS", "NAMESPACE", "RESOURCE", "MESSAGE")
	}
	return f.Run(ctx, func(m client.Message) error { return p.followed(env, m) })
}

const followFormat = "%-19s  %-12s  %-9s  %-20s  %-40s  %s\n"

// followed prints a message of a stream. What is missing is told on the other stream, so that a program that reads the events
// gets nothing else, and a person learns of it all the same. Kinds that this version does not know are passed over: a newer khook may
// have more.
func (p *display) followed(env Env, m client.Message) error {
	switch m.Kind {
	case "gap":
		var g feed.Gap
		if err := json.Unmarshal(m.Data, &g); err != nil {
			return err
		}
		_, err := fmt.Fprintf(env.Err, "khook: the changes %d to %d are missing: %s\n", g.From, g.To, incident.Clean(g.Reason, maxCell))
		return err
	case "event":
	default:
		return nil
	}
	if !p.forPeople() {
		return p.line(m.Data)
	}
	var e api.Event
	if err := json.Unmarshal(m.Data, &e); err != nil {
		return err
	}
	clean := func(s string) string { return incident.Clean(s, maxCell) }
	line := fmt.Sprintf(followFormat, e.Timestamp.Local().Format(time.DateTime), clean(string(e.EventType)), clean(string(e.Status)), clean(e.Namespace), clean(e.ResourceName), clean(e.Message))
	_, err := fmt.Fprintln(env.Out, p.cut(strings.TrimRight(line, "\n")))
	return err
}

// line prints one object: as a line of JSON, or as a document of YAML.
func (p *display) line(data []byte) error {
	if p.form == "yaml" {
		if _, err := fmt.Fprintln(p.out, "---"); err != nil {
			return err
		}
		return p.raw(json.RawMessage(data))
	}
	_, err := fmt.Fprintf(p.out, "%s\n", data)
	return err
}
