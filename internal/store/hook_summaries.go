package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
)

// HookSummary is what the history says of a hook in short.
type HookSummary struct {
	Open       int              // incidents that concern it and are open
	LastFired  time.Time        // when it last made a delivery due; zero if never
	Deliveries int64            // made due in the range
	Budgeted   int64            // of its deliveries since HookSummaries' since, those that count against a budget of calls
	Counts     map[string]int64 // the counters of the range, as HookCounts has them
}

// HookSummaries returns the summaries of hooks over whole minutes from from to before to. All hooks are there. The
// number of statements does not grow with the number of hooks, but for batches of a hundred. since is from when on calls count against budgets.
func (r *Reader) HookSummaries(ctx context.Context, hooks []delivery.HookRef, from, to, since time.Time) (map[delivery.HookRef]*HookSummary, error) {
	found := make(map[delivery.HookRef]*HookSummary, len(hooks))
	for _, h := range hooks {
		found[h] = &HookSummary{Counts: map[string]int64{}}
	}
	if len(hooks) == 0 {
		return found, nil
	}
	if err := r.addOpen(ctx, found); err != nil {
		return nil, err
	}
	err := inBatches(len(hooks), func(start, end int) error {
		part := hooks[start:end]
		if err := r.addDeliveries(ctx, found, part, from, to, since); err != nil {
			return err
		}
		return r.addCounts(ctx, found, part, from, to)
	})
	return found, err
}

func (r *Reader) addOpen(ctx context.Context, found map[delivery.HookRef]*HookSummary) error {
	type row struct {
		hook delivery.HookRef
		open int
	}
	rows, err := readAll(ctx, r.handle, "open incidents of hooks", func(sc scanner) (o row, err error) {
		err = sc.Scan(&o.hook.Namespace, &o.hook.Name, &o.open)
		return o, err
	}, "SELECT h.hook_ns, h.hook, count(*) FROM "+r.engine.JoinInOrder("incidents i", "hook_incidents h", "h.cluster = :cluster AND h.incident_id = i.id")+
		" WHERE i.resolution = '' AND i.cluster = :cluster GROUP BY h.hook_ns, h.hook")
	for _, o := range rows {
		if s := found[o.hook]; s != nil {
			s.Open = o.open
		}
	}
	return err
}

// wantedHooks is a table of hooks for a query, with its arguments.
func wantedHooks(hooks []delivery.HookRef) (with string, args []any) {
	for _, h := range hooks {
		args = append(args, h.Namespace, h.Name)
	}
	return "WITH wanted (ns, hook) AS (VALUES " + strings.TrimSuffix(strings.Repeat("(?, ?), ", len(hooks)), ", ") + ") ", args
}

func (r *Reader) addDeliveries(ctx context.Context, found map[delivery.HookRef]*HookSummary, hooks []delivery.HookRef, from, to, since time.Time) error {
	with, args := wantedHooks(hooks)
	_, err := readAll(ctx, r.handle, "deliveries of hooks", func(sc scanner) (struct{}, error) {
		var h delivery.HookRef
		var last, made, budgeted int64
		err := sc.Scan(&h.Namespace, &h.Name, &last, &made, &budgeted)
		if err == nil {
			found[h].LastFired, found[h].Deliveries, found[h].Budgeted = fromMicros(last), made, budgeted
		}
		return struct{}{}, err
	}, with+"SELECT w.ns, w.hook, "+
		"coalesce((SELECT max(created_at) FROM deliveries d WHERE d.cluster = :cluster AND d.hook_ns = w.ns AND d.hook = w.hook), 0), "+
		"(SELECT count(*) FROM deliveries d WHERE d.cluster = :cluster AND d.hook_ns = w.ns AND d.hook = w.hook AND d.created_at >= ? AND d.created_at < ?), "+
		"(SELECT count(*) FROM deliveries d WHERE d.skipped = '' AND d.cluster = :cluster AND d.hook_ns = w.ns AND d.hook = w.hook AND d.created_at >= ?) FROM wanted w",
		append(args, micros(from), micros(to), micros(since))...)
	return err
}

func (r *Reader) addCounts(ctx context.Context, found map[delivery.HookRef]*HookSummary, hooks []delivery.HookRef, from, to time.Time) error {
	with, args := wantedHooks(hooks)
	s := spansOf(from, to)
	var parts []string
	for _, p := range []struct{ span, from, to int64 }{{minuteSpan, s.from, s.firstHour}, {hourSpan, s.firstHour, s.lastHour}, {minuteSpan, s.lastHour, s.to}} {
		parts = append(parts, fmt.Sprintf("SELECT w.ns, w.hook, c.name, c.n FROM %s WHERE c.span = %d AND c.start >= ? AND c.start < ?",
			r.engine.JoinInOrder("wanted w", "hook_counts c", "c.cluster = :cluster AND c.hook_ns = w.ns AND c.hook = w.hook"), p.span))
		args = append(args, p.from, p.to)
	}
	_, err := readAll(ctx, r.handle, "counters of hooks", func(sc scanner) (struct{}, error) {
		var h delivery.HookRef
		var name string
		var n int64
		err := sc.Scan(&h.Namespace, &h.Name, &name, &n)
		if err == nil {
			found[h].Counts[name] = n
		}
		return struct{}{}, err
	}, with+"SELECT ns, hook, name, sum(n) FROM ("+strings.Join(parts, " UNION ALL ")+") AS counts GROUP BY ns, hook, name", args...)
	return err
}
