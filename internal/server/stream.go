package server

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/kagent-dev/khook/internal/access"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/capacity"
	"github.com/kagent-dev/khook/internal/feed"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/stream"
)

const streamPath = api.Base + "/events/stream"

// StreamFilter selects the changes of a stream.
type StreamFilter struct {
	Kinds []feed.Kind `query:"kinds" enum:"event,incident,delivery" uniqueItems:"true" doc:"Of what changes are told, separated by commas; of events only if absent. A filter for what a kind does not have selects none of it: deliveries have a namespace, which is their Hook's, and an eventType." example:"event,incident,delivery"`
	NamespaceFilter
	TypeFilter
	ResourceName string `query:"resourceName" maxLength:"253" doc:"Name of the Kubernetes resource." example:"cart-7d4b9c-x2x9k"`
	Workload     string `query:"workload" maxLength:"253" doc:"Name of the controller that owns the resource." example:"cart"`
	Status       string `query:"status" enum:"firing,duplicate,resolved" doc:"Only changes to this status." example:"firing"`
}

func (f StreamFilter) filter() feed.Filter {
	kinds, _ := feed.KindsOf(f.Kinds) // they are checked by their description
	return feed.Filter{Kinds: kinds, Namespace: f.Namespace, Type: incident.EventType(f.EventType), Status: incident.Status(f.Status), Name: f.ResourceName, Workload: f.Workload}
}

type streamInput struct {
	StreamFilter
	StreamCluster
	After       int64   `query:"after" minimum:"-1" default:"-1" doc:"Begin after this number of the change sequence: the ID of the last message that was seen. -1 begins at the end."`
	Since       Instant `query:"since" doc:"Begin with the first change that was made at or after this time (RFC 3339)."`
	MaxRate     float64 `query:"maxRate" minimum:"0" maximum:"1000" default:"0" doc:"The most messages a second; 0 for no bound. Above it the changes of one event, incident or delivery are put together: the last one wins."`
	LastEventID string  `header:"Last-Event-ID" maxLength:"20" doc:"As after; browsers send it when they come back, and it wins."`
}

// StreamCluster names the one cluster that a stream is of.
type StreamCluster struct {
	Clusters []string `query:"cluster" maxItems:"64" maxLength:"253" doc:"The cluster that is followed; khook's own if absent. A stream is of one cluster, since the IDs of its messages are numbers of that cluster's change sequence: to follow several, open a stream for each."`
}

// one is the name of the cluster; empty for khook's own.
func (c StreamCluster) one() (string, error) {
	switch len(c.Clusters) {
	case 0:
		return "", nil
	case 1:
		return c.Clusters[0], nil
	}
	return "", wrongParameter("cluster", strings.Join(c.Clusters, ","), "a stream is of one cluster: open one for each")
}

// where says where the stream begins.
func (in *streamInput) where() (feed.Start, error) {
	if math.IsNaN(in.MaxRate) { // which every comparison with a bound lets pass
		return feed.Start{}, wrongParameter("maxRate", "NaN", "must be a number from 0 to 1000")
	}
	if in.LastEventID != "" {
		after, err := strconv.ParseInt(in.LastEventID, 10, 64)
		if err != nil || after < 0 {
			return feed.Start{}, huma.Error400BadRequest("header Last-Event-ID: must be the ID of a message, a number")
		}
		return feed.Start{After: after}, nil
	}
	if in.Since.isSet && in.After >= 0 {
		return feed.Start{}, wrongParameter("since", in.Since.Format(time.RFC3339), "can't be used with after: both say where to begin")
	}
	return feed.Start{After: in.After, Since: in.since()}, nil
}

// since is the parameter for the feed, for which the zero time is none. The history has nothing from before
// 1970, so that every earlier time means its beginning.
func (in *streamInput) since() time.Time {
	if epoch := time.Unix(0, 0); in.Since.isSet && in.Since.Before(epoch) {
		return epoch
	}
	return in.Since.Time
}

func (s *Server) registerStream() {
	huma.Register(s.api, huma.Operation{
		OperationID: "streamEvents", Method: http.MethodGet, Path: streamPath, Tags: []string{tagEvents}, Summary: "Follow what happens live",
		Description: "New events and changes of their status, each with its number in the change sequence as ID and with the whole record; with kinds also incidents and deliveries that were recorded or changed, as the lists have them when they are read: of several changes at once the last one is told. A client that comes back with the last ID it saw " +
			"(Last-Event-ID, or after) gets every change once and in order, whatever happened meanwhile; if the history does not reach back so far, a message gap tells which range is missing.\n\n" +
			"Server-sent events, or a WebSocket on upgrade with the same messages as JSON: {type: ready|event|incident|delivery|gap|position|filter|error, id, event|incident|delivery}. A WebSocket client may send {\"type\": \"filter\", ...} with the " +
			"filters and maxRate of this route to change them. Its token goes into the header, or into the subprotocol " + stream.TokenProtocol + "TOKEN beside " + stream.Protocol + ".",
		Errors:    append([]int{http.StatusUpgradeRequired}, commonErrors...),
		Responses: map[string]*huma.Response{"200": {Description: "A stream that does not end by itself.", Content: map[string]*huma.MediaType{stream.ContentType: {Schema: &huma.Schema{Type: huma.TypeString}}}}},
	}, s.stream)
}

func (s *Server) stream(ctx context.Context, in *streamInput) (*huma.StreamResponse, error) {
	name, err := in.one()
	if err != nil {
		return nil, err
	}
	of, err := s.viewOf(ctx, name, in.Namespace)
	if err != nil {
		return nil, err
	}
	where, err := in.where()
	if err != nil {
		return nil, err
	}
	if s.cfg.Feed == nil || !of.own && s.cfg.Feeds == nil {
		return nil, huma.Error503ServiceUnavailable("this khook has no live streams")
	}
	live, leave, err := s.enterStream(ctx, of)
	if err != nil {
		return nil, err
	}
	wait, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	reader, err := live.Read(wait, in.filter(), where)
	if err != nil {
		leave()
		return nil, s.storeError(wait, err)
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) { //nolint:contextcheck // it lives as long as the answer
		defer leave()
		r, w := humago.Unwrap(hctx)
		session := &stream.Session{Reader: reader, Namespace: in.Namespace, MaxRate: in.MaxRate, Caller: &streamCaller{s, r, of}, Metrics: s.metrics.stream}
		session.Serve(lifeOf(r.Context()), w, r)
	}}, nil
}

// enterStream is the feed of a view, for a stream that has its place until it leaves.
func (s *Server) enterStream(ctx context.Context, of view) (live *feed.Feed, leave func(), err error) {
	place, err := s.streams.enter(clientOf(ctx))
	if err != nil || of.own {
		return s.cfg.Feed, place, err
	}
	live, away, err := s.cfg.Feeds.Enter(of.Cluster().No, of.Reader) //nolint:contextcheck // a feed is of all its streams
	if err != nil {
		place()
		return nil, nil, tooManyStreams(http.StatusServiceUnavailable, "too many clusters are followed at the same time: come back later, or ask the khook of that cluster")
	}
	return live, func() { away(); place() }, nil
}

func tooManyStreams(status int, detail string) error {
	return huma.ErrorWithHeaders(huma.NewError(status, detail), http.Header{"Retry-After": {fmt.Sprint(5 + rand.IntN(10))}}) //nolint:gosec // only to spread
}

// streamCaller is the caller of a stream: whose rights are asked for, and who is limited.
type streamCaller struct {
	server  *Server
	request *http.Request
	of      view
}

// MayRead implements stream.Caller.
func (c *streamCaller) MayRead(ctx context.Context, namespace string) (bool, error) {
	control := c.server.cfg.Access
	if control == nil {
		return true, nil
	}
	if ends := requestOf(c.request.Context()).session.ends; !ends.IsZero() && time.Now().After(ends) { //nolint:contextcheck // whose request it is stands in its own context
		return false, nil
	}
	caller, err := control.Authenticate(c.request.WithContext(ctx), requestOf(c.request.Context()).limitBy) //nolint:contextcheck // whose request it is stands in its own context
	if errors.Is(err, access.ErrUnknownCaller) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return control.May(ctx, caller, c.of.readRight(namespace))
}

// Allow implements stream.Caller.
func (c *streamCaller) Allow(ctx context.Context, namespace string) error {
	if !c.of.own {
		return nil // who may read another cluster may read all of its namespaces; MayRead asks again whether that is so
	}
	return c.server.allow(ctx, namespace)
}

// LimitControl implements stream.Caller.
func (c *streamCaller) LimitControl() (wait time.Duration, ok bool) {
	wait, ok = c.server.limits.byName.Allow(clientOf(c.request.Context()))
	if !ok {
		c.server.metrics.limited.WithLabelValues("client").Inc()
	}
	return wait, ok
}

// EnterCatchUp implements stream.Caller.
func (c *streamCaller) EnterCatchUp(ctx context.Context) (*capacity.Pass, error) {
	return c.server.gates.catchUps.Enter(ctx, clientOf(c.request.Context()), 1) //nolint:contextcheck // whose request it is stands in its own context
}

// Refuse implements stream.Caller.
func (c *streamCaller) Refuse(w http.ResponseWriter, code int, detail string) {
	writeProblem(w, code, detail)
}
