// Package agent calls the agents of kagent over A2A. kagent's versions speak four dialects; this
// package finds out which one it faces, per agent, and hides it: the rest of khook knows Send,
// Task, Follow, Reply, Cancel, Exists and Health.
//
// What matters most here is to know what a failed call has done. Every Error says whether it
// certainly had no effect; only such a call may simply be repeated. After any other the message is looked for, see Look.
//
// It must not repeat a call by itself, but for one that certainly had no effect on a kagent that was upgraded meanwhile.
// Answers are untrusted: they are bounded while they are read, and what is no JSON or no task is an error. What it
// remembers of agents it can find out again.
package agent

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
)

// Client calls agents. It is safe for concurrent use.
type Client struct {
	cfg   Config
	base  *url.URL
	http  *http.Client
	known *peerCache
	sessions
}

// New returns a client of the kagent that cfg names. It makes no call yet.
func New(cfg Config) (*Client, error) {
	cfg.setDefaults()
	base, err := cfg.validate()
	if err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, base: base, known: newPeerCache(maxKnown)}
	c.http = &http.Client{Transport: newWire(cfg, base), CheckRedirect: sameHost}
	c.limiter = make(chan struct{}, maxSessions)
	return c, nil
}

// Close waits for what is still under way in the background, at most a few seconds, and closes
// idle connections.
func (c *Client) Close() {
	c.running.Wait()
	c.http.CloseIdleConnections()
}

// Health says whether kagent can be reached at all. Any HTTP answer that is no server error
// counts, because kagent 1.0 has no REST route to ask.
func (c *Client) Health(ctx context.Context) error {
	_, err := c.get(ctx, "health")
	if answered(err) {
		return nil
	}
	return explain("reach kagent", err, true)
}

// Exists returns nil if kagent has the agent, ErrNoAgent if it has not, or the error that kept it
// from being known. It looks each time, and takes note of an upgrade of kagent.
func (c *Client) Exists(ctx context.Context, ref delivery.AgentRef) error {
	if !validRef(ref) {
		return &Error{Kind: delivery.NoAgent, NoEffect: true, Op: "look for agent " + ref.String(), Reason: "that is no name of an agent"}
	}
	ctx, done := holding(ctx, ref)
	defer done()
	_, err := c.detect(ctx, ref)
	return err
}

// with makes a call in the dialect of the agent. When the answer suggests that kagent was
// upgraded, and the call certainly had no effect, it finds out the dialect again and makes the
// call once more.
func (c *Client) with(ctx context.Context, ref delivery.AgentRef, call func(context.Context, peer) (Task, error)) (Task, error) {
	return c.within(ctx, ref, "", call)
}

// within is with, for a call that must be made in this dialect or not at all: a message, about which the row says in which dialect it
// left. "" is with.
func (c *Client) within(ctx context.Context, ref delivery.AgentRef, dialect string, call func(context.Context, peer) (Task, error)) (Task, error) {
	if !validRef(ref) {
		return Task{}, &Error{Kind: delivery.Refused, NoEffect: true, Op: "call agent " + ref.String(), Reason: "that is no name of an agent"}
	}
	ctx, done := holding(ctx, ref)
	defer done()
	p, fresh, err := c.peer(ctx, ref)
	if err != nil {
		return Task{}, err
	}
	if dialect != "" && dialect != p.dialect.name {
		return Task{}, errOtherDialect
	}
	task, err := call(ctx, p)
	err = inDialect(err, p.dialect)
	if !outdated(err) || c.cfg.Dialect != "" {
		return task, err
	}
	if dialect != "" {
		c.known.forget(ref) // the next call finds out
		return task, err
	}
	if fresh {
		return task, err
	}
	c.known.forget(ref)
	again, detectErr := c.detect(ctx, ref)
	if detectErr != nil {
		return Task{}, detectErr
	}
	if again.dialect == p.dialect {
		return task, err
	}
	task, err = call(ctx, again)
	return task, inDialect(err, again.dialect)
}

// errOtherDialect is about a kagent of which somebody else has found out meanwhile that it was changed.
var errOtherDialect = &Error{Kind: delivery.WrongDialect, NoEffect: true, Reason: "kagent speaks another dialect than a moment ago"}

// errOtherUser is about a khook whose token was changed meanwhile to another user's.
var errOtherUser = &Error{Kind: delivery.WrongDialect, NoEffect: true, Reason: "khook is another user of kagent than a moment ago, by its token"}

// Peer is whom a message to the agent reaches now. It makes requests that only read, and none where the answer is known.
func (c *Client) Peer(ctx context.Context, ref delivery.AgentRef) (delivery.Peer, error) {
	if !validRef(ref) {
		return delivery.Peer{}, &Error{Kind: delivery.NoAgent, NoEffect: true, Op: "look for agent " + ref.String(), Reason: "that is no name of an agent"}
	}
	_, user, err := c.cfg.identity()
	if err != nil {
		return delivery.Peer{}, explain("look for agent "+ref.String(), err, true)
	}
	ctx, done := holding(ctx, ref)
	defer done()
	p, _, err := c.peer(ctx, ref)
	if err != nil {
		return delivery.Peer{}, err
	}
	return delivery.Peer{Dialect: p.dialect.name, User: user, URL: c.base.String(), Once: p.dialect.idempotent, Lists: !p.dialect.idempotent}, nil
}

// peer returns what is known of the agent; fresh if it was found out just now.
func (c *Client) peer(ctx context.Context, ref delivery.AgentRef) (p peer, fresh bool, err error) {
	if known, ok := c.known.get(ref); ok {
		return known, false, nil
	}
	if name := c.cfg.Dialect; name != "" {
		return peer{ref: ref, dialect: dialects[name]}, true, nil
	}
	p, err = c.detect(ctx, ref)
	return p, true, err
}

// noAnswerError is the cause of a request's end at its own time limit.
type noAnswerError struct{ after time.Duration }

func (e noAnswerError) Error() string { return "no answer within " + e.after.String() }
