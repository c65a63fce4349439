package agent

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/kagent-dev/khook/internal/delivery"
)

// The dialects of kagent, named after the first version that speaks them.
const (
	Kagent05   = "kagent-0.5"     // 0.5 to 0.9.6: A2A 0.3 only, REST
	Kagent097  = "kagent-0.9.7"   // 0.9.7 to 0.10: A2A 0.3 and 1.0, REST
	KagentMain = "kagent-1.0-pre" // builds of August 2026: A2A 1.0 on the old path, no REST
	Kagent10   = "kagent-1.0"     // 1.0: A2A 1.0 on the new path, no REST, idempotent
)

// Dialects lists all dialects, the oldest first.
func Dialects() []string { return []string{Kagent05, Kagent097, KagentMain, Kagent10} }

// dialectSpec is what the client must know about one.
type dialectSpec struct {
	name       string
	path       string // of the agents, before "namespace/name"
	slash      string // after it
	v1         bool   // A2A 1.0 on the wire, else 0.3
	rest       bool   // has /api/sessions and /api/tasks
	idempotent bool   // the same message ID sent again is the same task
	hitl       bool   // asks for approvals by its extension
}

var dialects = map[string]dialectSpec{
	Kagent05:   {name: Kagent05, path: "api/a2a", slash: "/", rest: true},
	Kagent097:  {name: Kagent097, path: "api/a2a", slash: "/", rest: true, v1: true},
	KagentMain: {name: KagentMain, path: "api/a2a", slash: "/", v1: true, hitl: true},
	Kagent10:   {name: Kagent10, path: "agents", v1: true, idempotent: true, hitl: true},
}

// peer is what is known of one agent.
type peer struct {
	ref       delivery.AgentRef
	dialect   dialectSpec
	streaming bool
	carded    bool // streaming was read from its card
}

// card is what is read of an agent card. Its URLs are not: the card of an agent must not decide
// where khook sends its token.
type card struct {
	Name         string `json:"name"`
	Capabilities struct {
		Streaming bool `json:"streaming"`
	} `json:"capabilities"`
	SupportedInterfaces []struct {
		ProtocolVersion string `json:"protocolVersion"`
	} `json:"supportedInterfaces"`
}

func (c card) speaks(major string) bool {
	for _, i := range c.SupportedInterfaces {
		if i.ProtocolVersion == major || strings.HasPrefix(i.ProtocolVersion, major+".") {
			return true
		}
	}
	return false
}

// detect finds out which dialect the agent speaks, by reads that have no effect, and remembers it. An agent that does not exist is ErrNoAgent.
func (c *Client) detect(ctx context.Context, ref delivery.AgentRef) (peer, error) {
	p, err := c.findOut(ctx, ref)
	if err != nil {
		if isKind(err, delivery.NoAgent) {
			c.known.forget(ref)
		}
		return peer{}, explain("look for agent "+ref.String(), err, true)
	}
	c.known.put(ref, p)
	return p, nil
}

func (c *Client) findOut(ctx context.Context, ref delivery.AgentRef) (peer, error) {
	if name := c.cfg.Dialect; name != "" {
		d := dialects[name]
		found, err := c.card(ctx, d, ref)
		return newPeer(ref, d, found), err
	}
	found, err := c.card(ctx, dialects[Kagent10], ref)
	if err == nil {
		return newPeer(ref, dialects[Kagent10], found), nil
	}
	// A gateway may refuse the one path and let the other through: only where neither has a card is it the first that tells why.
	var status *statusError
	if !isKind(err, delivery.NoAgent) && !errors.As(err, &status) {
		return peer{}, err
	}
	older, olderErr := c.card(ctx, dialects[KagentMain], ref)
	switch {
	case olderErr != nil && !isKind(err, delivery.NoAgent):
		return peer{}, err
	case olderErr != nil:
		return peer{}, olderErr
	}
	found = older
	rest, err := c.hasREST(ctx, found)
	if err != nil {
		return peer{}, err
	}
	switch {
	case !rest:
		return newPeer(ref, dialects[KagentMain], found), nil
	case found.speaks("1"):
		return newPeer(ref, dialects[Kagent097], found), nil
	default:
		return newPeer(ref, dialects[Kagent05], found), nil
	}
}

func newPeer(ref delivery.AgentRef, d dialectSpec, c card) peer {
	return peer{ref: ref, dialect: d, streaming: c.Capabilities.Streaming, carded: true}
}

// card reads the agent card at the dialect's path. What is no card counts as absent: a proxy or
// a web page may answer any path with 200.
func (c *Client) card(ctx context.Context, d dialectSpec, ref delivery.AgentRef) (card, error) {
	body, err := c.get(ctx, d.path, ref.Namespace, ref.Name, ".well-known", "agent-card.json")
	if err != nil {
		if absent(err) {
			return card{}, errNoCard
		}
		return card{}, err
	}
	var found card
	if json.Unmarshal(body, &found) != nil || found.Name == "" {
		return card{}, errNoCard
	}
	return found, nil
}

var errNoCard = &Error{
	Kind: delivery.NoAgent, NoEffect: true, RetryAfter: delivery.NoAgent.Rule().Pause,
	Reason: "kagent has no such agent: it shows no agent card for it. Check the agent's name and namespace, and that its conditions Accepted and Ready are true",
}

// absent says that nothing is at the route.
func absent(err error) bool {
	var status *statusError
	if !errors.As(err, &status) {
		return false
	}
	switch status.code {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusGone:
		return true
	}
	return false
}

// nobodysSession is a session that nobody has: it can't be asked for by a delivery, whose sessions have IDs of another form.
const nobodysSession = "khook-looks-for-its-dialect"

// hasREST says whether kagent has the REST routes of 0.10 and before. Its version tells that. But a gateway may refuse to let /version
// through, or send it elsewhere, and that must not hide a kagent: then it is asked for the tasks of a session that does not exist, which
// it says in its own words. Where neither comes through the agent's card is left: builds without the routes speak A2A 1.0 only.
func (c *Client) hasREST(ctx context.Context, found card) (bool, error) {
	for _, asks := range []func(context.Context) (bool, error){c.tellsVersion, c.keepsSessions} {
		if has, err := asks(ctx); has || err != nil && !answeredByOthers(err) {
			return has, err
		}
	}
	return found.speaks("0") || !found.speaks("1"), nil
}

// answeredByOthers says whether err is an answer, of kagent or of something before it, that does not tell what was asked.
func answeredByOthers(err error) bool {
	var status *statusError
	var garbled *garbledError
	return errors.As(err, &status) || errors.As(err, &garbled) || isKind(err, delivery.WrongDialect)
}

// tellsVersion says whether kagent's version is told as up to 0.10.
func (c *Client) tellsVersion(ctx context.Context) (bool, error) {
	body, err := c.get(ctx, "version")
	var version map[string]any
	return err == nil && json.Unmarshal(body, &version) == nil && len(version) > 0, err
}

// keepsSessions says whether kagent's own words come back when it is asked for a session.
func (c *Client) keepsSessions(ctx context.Context) (bool, error) {
	_, fate, err := c.sessionTasks(ctx, nobodysSession)
	return err == nil && fate == delivery.Missing, err
}

// maxKnown bounds the agents that are remembered.
const maxKnown = 1000

// peerCache remembers what was found out about agents. It is bounded: the agent that was put first is
// forgotten first. Losing an entry costs the reads of detect and nothing else.
type peerCache struct {
	mu    sync.Mutex
	max   int
	peers map[delivery.AgentRef]peer
	order []delivery.AgentRef
}

func newPeerCache(limit int) *peerCache {
	return &peerCache{max: limit, peers: map[delivery.AgentRef]peer{}}
}

func (k *peerCache) get(ref delivery.AgentRef) (peer, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	p, ok := k.peers[ref]
	return p, ok
}

func (k *peerCache) put(ref delivery.AgentRef, p peer) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.peers[ref]; !ok {
		if len(k.order) >= k.max {
			delete(k.peers, k.order[0])
			k.order = k.order[1:]
		}
		k.order = append(k.order, ref)
	}
	k.peers[ref] = p
}

func (k *peerCache) forget(ref delivery.AgentRef) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.peers[ref]; ok {
		delete(k.peers, ref)
		k.order = slices.DeleteFunc(k.order, func(r delivery.AgentRef) bool { return r == ref })
	}
}
