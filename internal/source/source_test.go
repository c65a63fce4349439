package source

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/incident"
)

// fake is a source that says what it is told to say.
type fake struct {
	since  time.Time // zero if it does not watch
	synced bool
	err    error // of Check
	name   string
	run    func(context.Context) error
}

func (f fake) Run(ctx context.Context, _ []*incident.Incident) error { return f.run(ctx) }
func (f fake) WatchedSince() (time.Time, bool)                       { return f.since, !f.since.IsZero() }
func (f fake) Synced() bool                                          { return f.synced }
func (f fake) Check() error                                          { return f.err }
func (f fake) Health() []StreamHealth                                { return []StreamHealth{{Source: f.name}} }

func TestSilenceCountsFromWhenTheLastSourceWatches(t *testing.T) {
	early := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	late := early.Add(time.Hour)
	for name, c := range map[string]struct {
		list    List
		since   time.Time
		watched bool
	}{
		"all watch":    {List{fake{since: late}, fake{since: early}}, late, true},
		"one does not": {List{fake{since: early}, fake{}}, time.Time{}, false},
		"there is one": {List{fake{since: early}}, early, true},
	} {
		t.Run(name, func(t *testing.T) {
			if since, watched := c.list.WatchedSince(); !since.Equal(c.since) || watched != c.watched {
				t.Errorf("watched since %s: %v, want %s: %v", since, watched, c.since, c.watched)
			}
		})
	}
}

func TestAListIsAsItsSourcesAre(t *testing.T) {
	list := List{
		fake{name: "kubernetes", synced: true, err: errors.New("the watch of pods is down")},
		fake{name: "webhook", err: errors.New("the port is taken")},
	}
	if list.Synced() {
		t.Error("it is synced before each source is")
	}
	err := list.Check()
	if err == nil || !strings.Contains(err.Error(), "pods") || !strings.Contains(err.Error(), "port") {
		t.Errorf("it says %v, want what both say", err)
	}
	if streams := list.Health(); len(streams) != 2 || streams[0].Source != "kubernetes" || streams[1].Source != "webhook" {
		t.Errorf("its streams are %+v", streams)
	}
	if well := (List{fake{synced: true}}); !well.Synced() || well.Check() != nil {
		t.Errorf("one that is well: synced %v, %v", well.Synced(), well.Check())
	}
}

func TestASourceThatFailsEndsTheOthers(t *testing.T) {
	failed := errors.New("no such cluster")
	others := make(chan error, 1)
	list := List{
		fake{run: func(context.Context) error { return failed }},
		fake{run: func(ctx context.Context) error { <-ctx.Done(); others <- ctx.Err(); return nil }},
	}
	if err := list.Run(t.Context(), nil); !errors.Is(err, failed) {
		t.Errorf("Run returns %v", err)
	}
	if err := <-others; !errors.Is(err, context.Canceled) {
		t.Errorf("the other one ended with %v", err)
	}
}
