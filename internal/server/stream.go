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
	"github.com/kagent-dev/khook/internal/review"
)

const (
	streamPath = api.Base + "/events/stream"
	sseType    = "text/event-stream"
)

// StreamFilter selects the events of a stream.
type StreamFilter struct {
	NamespaceFilter
	TypeFilter
	ResourceName string `query:"resourceName" maxLength:"253" doc:"Name of the Kubernetes resource." example:"cart-7d4b9c-x2x9k"`
	Workload     string `query:"workload" maxLength:"253" doc:"Name of the controller that owns the resource." example:"cart"`
	Status       string `query:"status" enum:"firing,duplicate,resolved" doc:"Only changes to this status." example:"firing"`
}

func (f StreamFilter) filter() feed.Filter {
	return feed.Filter{Namespace: f.Namespace, Type: incident.EventType(f.EventType), Status: incident.Status(f.Status), Name: f.ResourceName, Workload: f.Workload}
}

type streamInput struct {
	StreamFilter
	After       int64   `query:"after" minimum:"-1" default:"-1" doc:"Begin after this number of the change sequence: the ID of the last message that was seen. -1 begins at the end."`
	Since       Instant `query:"since" doc:"Begin with the first change that was made at or after this time (RFC 3339)."`
	MaxRate     float64 `query:"maxRate" minimum:"0" maximum:"1000" default:"0" doc:"The most messages a second; 0 for no bound. Above it the changes of one event are put together: the last one wins."`
	LastEventID string  `header:"Last-Event-ID" maxLength:"20" doc:"As after; browsers send it when they come back, and it wins."`
}

// where says where the stream begins.
func (in *streamInput) where() (feed.Where, error) {
	if math.IsNaN(in.MaxRate) { // which every comparison with a bound lets pass
		return feed.Where{}, wrongParameter("maxRate", "NaN", "must be a number from 0 to 1000")
	}
	if in.LastEventID != "" {
		after, err := strconv.ParseInt(in.LastEventID, 10, 64)
		if err != nil || after < 0 {
			return feed.Where{}, huma.Error400BadRequest("header Last-Event-ID: must be the ID of a message, a number")
		}
		return feed.Where{After: after}, nil
	}
	if in.Since.isSet && in.After >= 0 {
		return feed.Where{}, wrongParameter("since", in.Since.Format(time.RFC3339), "can't be used with after: both say where to begin")
	}
	return feed.Where{After: in.After, Since: in.since()}, nil
}

// since is the parameter for the feed, for which the zero time is none. The history has nothing of before
// 1970, so that every earlier time means its beginning.
func (in *streamInput) since() time.Time {
	if epoch := time.Unix(0, 0); in.Since.isSet && in.Since.Before(epoch) {
		return epoch
	}
	return in.Since.Time
}

func (s *Server) registerStream() {
	huma.Register(s.api, huma.Operation{
		OperationID: "streamEvents", Method: http.MethodGet, Path: streamPath, Tags: []string{tagEvents}, Summary: "Follow the events live",
		Description: "New events and changes of their status, each with its number in the change sequence as ID and with the whole record. A client that comes back with the last ID it saw " +
			"(Last-Event-ID, or after) gets every change once and in order, whatever happened meanwhile; if the history does not reach back so far, a message gap tells which range is missing.\n\n" +
			"Server-sent events, or a WebSocket on upgrade with the same messages as JSON: {type: ready|event|gap|position|filter|error, id, event}. A WebSocket client may send {\"type\": \"filter\", ...} with the " +
			"filters and maxRate of this route to change them. Its token goes into the header, or into the subprotocol " + tokenProtocol + "TOKEN beside " + streamProtocol + ".",
		Errors:    append([]int{http.StatusUpgradeRequired}, usual...),
		Responses: map[string]*huma.Response{"200": {Description: "A stream that does not end by itself.", Content: map[string]*huma.MediaType{sseType: {Schema: &huma.Schema{Type: huma.TypeString}}}}},
	}, s.stream)
}

func (s *Server) stream(ctx context.Context, in *streamInput) (*huma.StreamResponse, error) {
	if err := s.allow(ctx, in.Namespace); err != nil {
		return nil, err
	}
	where, err := in.where()
	if err != nil {
		return nil, err
	}
	if s.cfg.Feed == nil {
		return nil, huma.Error503ServiceUnavailable("this khook has no live streams")
	}
	leave, err := s.streams.enter(clientOf(ctx))
	if err != nil {
		return nil, err
	}
	wait, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	reader, err := s.cfg.Feed.Read(wait, in.filter(), where)
	if err != nil {
		leave()
		return nil, s.failed(wait, err)
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		defer leave()
		r, w := humago.Unwrap(hctx)
		st := &session{server: s, request: r, reader: reader, namespace: in.Namespace, rate: newPace(in.MaxRate), checked: time.Now(), confirmed: time.Now()}
		defer func() { st.room.Leave() }()
		switch {
		case isUpgrade(r):
			st.serveWebSocket(w, r)
		case r.Method == http.MethodHead:
			w.Header().Set("Content-Type", sseType) // that is all of it
		default:
			st.serveSSE(w, r)
		}
	}}, nil
}

// The times of a stream.
const (
	heartbeat  = 15 * time.Second // at least so often something is sent
	writeLimit = 20 * time.Second // for one write: who takes longer is disconnected, and comes back
	recheck    = 30 * time.Second // how often it is asked whether the caller may still read
	checkLimit = 2 * time.Second  // for the answer: nothing is sent meanwhile
)

// errStops ends the streams of a khook that stops.
var errStops = errors.New("khook stops")

// errNoRight ends the stream of a caller who may not read any more.
var errNoRight = errors.New("you may not read this any more")

// errNotAsked ends the stream of a caller of whom that could not be found out for review.StaleFor.
var errNotAsked = errors.New("khook could not ask Kubernetes whether you may still read this")

// session is one stream.
type session struct {
	server    *Server
	request   *http.Request
	reader    *feed.Reader
	namespace string
	rate      *pace
	checked   time.Time // when the right was last asked for
	confirmed time.Time // when Kubernetes last said that the caller has it
	out       transport
	control   func(context.Context) error // takes what the client asks for; nil if it can't
	room      *capacity.Pass              // for the batch at hand, if it was read from the history
}

// transport writes messages in the form of the stream.
type transport interface {
	ready(position int64) error
	events([]*feed.Message) error
	gap(feed.Gap, int64) error
	position(int64) error
}

// loop passes on what the reader gets, until the client leaves or something ends the stream.
func (st *session) loop(ctx context.Context, interrupted func() (context.Context, context.CancelFunc)) error {
	if err := st.out.ready(st.reader.Position()); err != nil {
		return err
	}
	for spoke := time.Now(); ; {
		if err := st.mayStill(ctx); err != nil {
			return err
		}
		wait, cancel := interrupted()
		b, err := st.next(wait) //nolint:contextcheck // it is made of ctx
		cancel()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if st.control != nil {
			if err := st.control(ctx); err != nil {
				return err
			}
		}
		if err != nil && wait.Err() == nil {
			return err
		}
		sent, err := st.pass(b)
		if err != nil {
			return err
		}
		switch {
		case sent:
			spoke = time.Now()
		case time.Since(spoke) >= heartbeat && st.rate.empty():
			if err := st.out.position(st.reader.Position()); err != nil {
				return err
			}
			spoke = time.Now()
		}
	}
}

// next reads, unless so much is held back that reading can wait. What a stream reads from the history
// is memory of its own for as long as its client takes to read it: so it waits for room.
func (st *session) next(ctx context.Context) (feed.Batch, error) {
	st.room.Leave() // the batch before has been written
	if st.rate.full() {
		<-ctx.Done()
		return feed.Batch{}, nil
	}
	if !st.reader.Behind() {
		return st.reader.NextOfRing(ctx) // if the ring leaves it behind meanwhile, it waits for room the next time
	}
	var err error
	if st.room, err = st.server.gates.catchUps.Enter(ctx, clientOf(ctx), 1); err != nil {
		<-ctx.Done()
		return feed.Batch{}, ctx.Err()
	}
	return st.reader.Next(ctx)
}

// pass sends a batch, or what the pace lets through of it and of what was held back before.
func (st *session) pass(b feed.Batch) (sent bool, err error) {
	if b.Gap != nil {
		st.server.meters.gaps.Inc()
		if err := st.out.gap(*b.Gap, b.Position); err != nil {
			return false, err
		}
		sent = true
	}
	messages, coalesced := st.rate.pass(b.Messages)
	if reach, ok := st.rate.forget(); ok {
		st.reader.Rewind(reach)
	}
	st.server.meters.coalesced.Add(float64(coalesced))
	if len(messages) == 0 {
		return sent, nil
	}
	if err := st.out.events(messages); err != nil {
		return sent, err
	}
	st.server.meters.streamed.Add(float64(len(messages)))
	st.server.meters.streamLag.Observe(max(0, time.Since(messages[0].At).Seconds()))
	return true, nil
}

// patience is how long to wait for the next batch.
func (st *session) patience() time.Duration {
	if st.rate.empty() {
		return heartbeat
	}
	return st.rate.soon()
}

// mayStill asks now and then whether the caller may still read. Only a no ends the stream at once; what
// can't be asked ends it after a while.
func (st *session) mayStill(ctx context.Context) error {
	if st.server.cfg.Access == nil || time.Since(st.checked) < recheck {
		return nil
	}
	st.checked = time.Now()
	switch may, err := st.askAgain(ctx); {
	case errors.Is(err, access.ErrUnknownCaller), err == nil && !may:
		return errNoRight
	case err == nil:
		st.confirmed = time.Now()
	case time.Since(st.confirmed) >= review.StaleFor:
		return errNotAsked
	}
	return nil
}

// askAgain asks who calls and whether that caller may read, and takes no old answers: this is what says
// how old they are.
func (st *session) askAgain(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(review.Firm(ctx), checkLimit)
	defer cancel()
	caller, err := st.server.cfg.Access.Authenticate(st.request.WithContext(ctx), requestOf(st.request.Context()).limitBy)
	if err != nil {
		return false, err
	}
	return st.server.cfg.Access.May(ctx, caller, access.ReadHooks(st.namespace))
}

// until returns a context that also ends when khook stops.
func (s *Server) until(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.stopping, func() { cancel(errStops) })
	return ctx, func() { stop(); cancel(nil) }
}

// comeBack is when a client shall come back, in milliseconds: not all at once.
func comeBack() int { return 500 + rand.IntN(4500) } //nolint:gosec // only to spread

func isUpgrade(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

func tooManyStreams(status int, detail string) error {
	return huma.ErrorWithHeaders(huma.NewError(status, detail), http.Header{"Retry-After": {fmt.Sprint(5 + rand.IntN(10))}}) //nolint:gosec // only to spread
}
