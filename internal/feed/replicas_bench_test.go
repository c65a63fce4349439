package feed

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/store"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

// BenchmarkReplicas tells how long after a commit of the leader the streams of another replica on the same PostgreSQL tell of it, beside how often
// that replica looks.
func BenchmarkReplicas(b *testing.B) {
	const poll = 75 * time.Millisecond // as in internal/app
	url := pgtest.Shared(b).Schema(b)
	replica := func() *store.Store {
		st, err := store.Open(b.Context(), store.Config{Engine: pgtest.At(url)})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = st.Close() })
		return st
	}
	leader, other := newFixture(b, replica(), Config{}), newFixture(b, replica(), Config{Poll: poll})
	reader, err := other.Read(b.Context(), Filter{}, End)
	if err != nil {
		b.Fatal(err)
	}
	var took []time.Duration
	for b.Loop() {
		time.Sleep(rand.N(poll)) // a commit comes at any moment between two looks
		leader.fail("shop", false)
		committed := time.Now()
		if got, err := reader.Next(b.Context()); err != nil || len(got.Messages) != 1 {
			b.Fatalf("%d messages, %v", len(got.Messages), err)
		}
		took = append(took, time.Since(committed))
	}
	slices.Sort(took)
	at := func(q float64) time.Duration { return took[int(q*float64(len(took)-1))] }
	b.ReportMetric(at(0.5).Seconds()*1000, "p50-ms")
	b.ReportMetric(at(0.99).Seconds()*1000, "p99-ms")
	b.ReportMetric(at(0.99).Seconds()/poll.Seconds(), "p99/poll")
	b.ReportMetric(0, "ns/op")
}
