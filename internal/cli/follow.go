package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"

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
	g := &grid{p: p, header: []string{"TIME, " + zone(p.now), "TYPE", "STATUS", namespaceColumn, "RESOURCE", "MESSAGE"}, spare: []string{namespaceColumn}, widths: []int{19, 12, 9, 12, 28, leastLast}}
	if p.forPeople() {
		if err := g.print(nil); err != nil { // the header, before there is anything to be below it
			return err
		}
	}
	return f.Run(ctx, func(m client.Message) error { return p.followed(env, g, m) })
}

// followed prints a message of a stream. What is missing is told on the other stream, so that a program that reads the events
// gets nothing else, and a person learns of it all the same. Kinds that this version does not know are passed over: a newer khook may
// have more.
func (p *display) followed(env Env, g *grid, m client.Message) error {
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
	var e api.Event
	if err := json.Unmarshal(m.Data, &e); err != nil {
		return err
	}
	switch {
	case p.form == nameForm:
		return p.name("event", fmt.Sprint(e.ID))
	case !p.forPeople():
		return p.line(m.Data)
	}
	at := e.Timestamp
	if e.Status == incident.Resolved && !e.ChangedAt.IsZero() { // its incident has ended, long after it happened as it may be
		at = e.ChangedAt
	}
	return g.print([][]string{{clock(at), string(e.EventType), string(e.Status), e.Namespace, e.ResourceName, e.Message}})
}

// line prints one object: as a line of JSON, as a document of YAML, or what a template finds in it.
func (p *display) line(data []byte) error {
	if p.form == "yaml" {
		if _, err := fmt.Fprintln(p.out, "---"); err != nil {
			return err
		}
		return p.raw(json.RawMessage(data))
	}
	if p.form != "json" {
		return p.raw(json.RawMessage(data))
	}
	_, err := fmt.Fprintln(p.out, escaped(string(data)))
	return err
}
