package server

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/common/model"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

const (
	maxBuckets    = 1000
	maxNamespaces = 50 // that trends tell apart
	others        = "*"
)

// intervals are those that are chosen from if a client names none: the first with at most
// usualBuckets buckets.
var intervals = []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour}

const usualBuckets = 30

func (s *Server) trends(ctx context.Context, in *trendsInput) (api.Trends, error) {
	none := api.Trends{}
	if in.By == "namespace" && in.Namespace != "" {
		return none, wrongParameter("namespace", in.Namespace, "can't be used with by=namespace: use by=type")
	}
	views, err := s.views(ctx, in.ClusterFilter, in.Namespace)
	if err != nil {
		return none, err
	}
	from, _, now, err := s.spanNow(in.TimeRange)
	if err != nil {
		return none, err
	}
	interval, err := in.interval(now.Sub(from))
	if err != nil {
		return none, err
	}
	first := since1970(from, interval)
	last := since1970(now, interval).Add(interval)
	t := api.Trends{
		TimeRange: in.TimeRange.TimeRange, Interval: model.Duration(interval).String(), By: in.By, Namespace: in.Namespace,
		Clusters: namesOf(views), StartTime: first, EndTime: now,
	}
	var counts []store.TrendCount
	for _, v := range views {
		ofCluster, err := v.trend(ctx, in, len(views) > 1, first, last, interval)
		if err != nil {
			return none, s.storeError(ctx, err)
		}
		counts = foldCounts(append(counts, ofCluster...))
	}
	fillTrends(&t, counts, first, last, interval)
	return t, nil
}

// foldCounts adds up the counts that are of one bucket and key.
func foldCounts(counts []store.TrendCount) []store.TrendCount {
	type place struct {
		bucket int64
		key    string
	}
	at := make(map[place]int, len(counts))
	folded := counts[:0]
	for _, c := range counts {
		p := place{c.Bucket, c.Key}
		if i, there := at[p]; there {
			folded[i].N += c.N
			continue
		}
		at[p] = len(folded)
		folded = append(folded, c)
	}
	return folded
}

// since1970 is the begin of t's bucket; buckets are counted from 1970 on, as in the store.
func since1970(t time.Time, interval time.Duration) time.Time {
	seconds := int64(interval / time.Second)
	return time.Unix(t.Unix()/seconds*seconds, 0).UTC()
}

// trend counts the events of one cluster; if it is one of several, namespaces have its name before them.
func (v view) trend(ctx context.Context, in *trendsInput, oneOfSeveral bool, from, to time.Time, interval time.Duration) ([]store.TrendCount, error) {
	if in.By == "namespace" {
		counts, err := v.TrendByNamespace(ctx, from, to, interval)
		for i := range counts {
			if oneOfSeveral {
				counts[i].Key = v.cluster() + "/" + counts[i].Key
			}
		}
		return counts, err
	}
	counts, err := v.Trend(ctx, from, to, interval, in.Namespace)
	for i := range counts {
		if in.By == "cluster" {
			counts[i].Key = v.cluster()
		}
	}
	return counts, err
}

// interval is the width of the buckets.
func (in *trendsInput) interval(span time.Duration) (time.Duration, error) {
	if in.Interval == "" {
		for _, i := range intervals {
			if span <= usualBuckets*i {
				return i, nil
			}
		}
		return intervals[len(intervals)-1], nil
	}
	d, err := duration("interval", in.Interval, time.Minute, 7*24*time.Hour)
	switch {
	case err != nil:
		return 0, err
	case d%time.Minute != 0:
		return 0, wrongParameter("interval", in.Interval, "must be whole minutes")
	case d%time.Hour != 0 && span > day+time.Hour:
		return 0, wrongParameter("interval", in.Interval, "must be whole hours if timeRange is more than 24h")
	case span/d >= maxBuckets:
		return 0, wrongParameter("interval", in.Interval, fmt.Sprintf("makes more than %d buckets: choose a longer one, or a shorter timeRange", maxBuckets))
	}
	return d, nil
}

// fill makes all buckets, the empty ones too.
func fillTrends(t *api.Trends, counts []store.TrendCount, first, last time.Time, interval time.Duration) {
	kept := chooseKeys(t, counts)
	number := first.Unix() / int64(interval/time.Second)
	for at := first; at.Before(last); at = at.Add(interval) {
		b := api.Bucket{Start: at, Counts: make(map[string]int64, len(t.Keys))}
		for _, key := range t.Keys {
			b.Counts[key] = 0
		}
		t.Buckets = append(t.Buckets, b)
	}
	for _, c := range counts {
		i := c.Bucket - number
		if i < 0 || i >= int64(len(t.Buckets)) {
			continue
		}
		key := c.Key
		if !kept[key] {
			key = others
		}
		t.Buckets[i].Total += c.N
		t.Buckets[i].Counts[key] += c.N
	}
}

// chooseKeys says which types, namespaces or clusters are told apart.
func chooseKeys(t *api.Trends, counts []store.TrendCount) map[string]bool {
	t.Keys = []string{}
	kept := map[string]bool{}
	if t.By == "type" {
		for _, et := range incident.EventTypes() {
			t.Keys = append(t.Keys, string(et))
			kept[string(et)] = true
		}
		return kept
	}
	sums := map[string]int64{}
	for _, c := range counts {
		sums[c.Key] += c.N
	}
	for name := range sums {
		t.Keys = append(t.Keys, name)
	}
	slices.SortFunc(t.Keys, func(a, b string) int { return cmp.Or(cmp.Compare(sums[b], sums[a]), cmp.Compare(a, b)) })
	if len(t.Keys) > maxNamespaces {
		t.Keys = append(t.Keys[:maxNamespaces:maxNamespaces], others)
	}
	for _, name := range t.Keys {
		kept[name] = name != others
	}
	return kept
}
