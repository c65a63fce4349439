package server

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/prometheus/common/model"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// TimeRange is how far back a statistic reaches.
type TimeRange struct {
	TimeRange string `query:"timeRange" default:"24h" maxLength:"32" doc:"How far back, as a duration such as 30m, 24h, 7d or 1d12h: at least 1m, at most the retention. It begins at a whole minute, a day or more at a whole hour." example:"24h"`
}

// day is the length from which on ranges begin at a whole hour.
const day = 24 * time.Hour

// span is the range: it begins at a whole minute, or a whole hour if it is a day or more, and ends
// with the present hour, of which the rest is still empty. So it is nearly all whole hours, which
// are few rows of the counters.
func (t TimeRange) span(now time.Time, longest time.Duration) (from, to time.Time, err error) {
	d, err := duration("timeRange", t.TimeRange, time.Minute, longest)
	if err != nil {
		return from, to, err
	}
	from = now.Add(-d).Truncate(time.Minute)
	if d >= day {
		from = from.Truncate(time.Hour)
	}
	return from, now.Truncate(time.Hour).Add(time.Hour), nil
}

// spanNow is the range of a statistic. now is when it was asked for.
func (s *Server) spanNow(r TimeRange) (from, to, now time.Time, err error) {
	now = time.Now().UTC().Truncate(time.Microsecond)
	from, to, err = r.span(now, s.cfg.Retention)
	return from, to, now, err
}

// duration reads a duration with the units ms, s, m, h, d, w and y.
func duration(name, text string, least, most time.Duration) (time.Duration, error) {
	parsed, err := model.ParseDuration(text)
	d := time.Duration(parsed)
	switch {
	case err != nil:
		return 0, wrongParameter(name, text, "is no duration: write it such as 30m, 24h, 7d or 1d12h")
	case d < least || d > most:
		return 0, wrongParameter(name, text, fmt.Sprintf("must be from %s to %s", model.Duration(least), model.Duration(most)))
	}
	return d, nil
}

type statsInput struct {
	TimeRange
	ClusterFilter
	NamespaceFilter
}

type hookStatsInput struct {
	HookPath
	OneCluster
	TimeRange
}

type trendsInput struct {
	TimeRange
	Interval string `query:"interval" maxLength:"32" doc:"Width of a bucket: whole minutes, whole hours if timeRange is more than 24h; at most 1,000 buckets. Chosen by timeRange if it is absent." example:"1h"`
	By       string `query:"by" enum:"type,namespace,cluster" default:"type" doc:"What is counted apart. By namespace needs the right for all namespaces; those of several clusters are told apart as cluster/namespace."`
	ClusterFilter
	NamespaceFilter
}

func (s *Server) registerStats() {
	getRoute(s, "eventSummary", "/stats/events/summary", tagStats, "Sum up the events", "How many events there were in the range, and how many are firing now.", s.eventStats)
	getRoute(s, "eventsByType", "/stats/events/by-type", tagStats, "Count the events by type", "The same answer as the summary.", s.eventStats)
	getRoute(s, "hookMetrics", "/stats/hooks/{namespace}/{name}/metrics", tagStats, "Tell how a Hook does",
		"A Hook that was deleted keeps its numbers as long as its history; one that never decided anything has zeros.", s.hookMetrics)
	getRoute(s, "trends", "/stats/trends", tagStats, "Count events over time", "Buckets begin at multiples of the interval since 1970; the first one is whole.", s.trends)
}

// percent is the share of n in all, to one decimal.
func percent(n, all int64) float64 {
	if all == 0 {
		return 0
	}
	return math.Round(float64(n)/float64(all)*1000) / 10
}

func percentOf(n, all int64) *float64 {
	if all == 0 {
		return nil
	}
	p := percent(n, all)
	return &p
}

func (s *Server) eventStats(ctx context.Context, in *statsInput) (api.EventStats, error) {
	var stats api.EventStats
	views, err := s.views(ctx, in.ClusterFilter, in.Namespace)
	if err != nil {
		return stats, err
	}
	from, to, now, err := s.spanNow(in.TimeRange)
	if err != nil {
		return stats, err
	}
	var counts, active []store.EventCount
	for _, v := range views {
		ofCluster, err := v.EventCounts(ctx, from, to, in.Namespace)
		if err != nil {
			return stats, s.storeError(ctx, err)
		}
		activeNow, err := v.ActiveEvents(ctx, in.Namespace)
		if err != nil {
			return stats, s.storeError(ctx, err)
		}
		counts, active = append(counts, ofCluster...), append(active, activeNow...)
	}
	stats = countEvents(counts, active)
	stats.Summary.Clusters = namesOf(views)
	stats.Summary.TimeRange, stats.Summary.Namespace = in.TimeRange.TimeRange, in.Namespace
	stats.Summary.StartTime, stats.Summary.EndTime = from, now
	return stats, nil
}

// countEvents puts the counters into the contract's shape.
func countEvents(counts, active []store.EventCount) api.EventStats {
	stats := api.EventStats{ByType: map[incident.EventType]api.TypeCounts{}}
	for _, t := range incident.EventTypes() {
		stats.ByType[t] = api.TypeCounts{}
	}
	for _, c := range counts {
		of := stats.ByType[c.Type]
		switch c.Status {
		case incident.Resolved:
			of.Resolved += c.N
			stats.Summary.ResolvedEvents += c.N
		case incident.Duplicate:
			of.Duplicates += c.N
			stats.Summary.DuplicateEvents += c.N
			fallthrough
		default:
			of.Count += c.N
			stats.Summary.TotalEvents += c.N
		}
		stats.ByType[c.Type] = of
	}
	for _, c := range active {
		of := stats.ByType[c.Type]
		of.Active += c.N
		stats.ByType[c.Type] = of
		stats.Summary.ActiveEvents += c.N
	}
	for t, of := range stats.ByType {
		of.Percentage = percent(of.Count, stats.Summary.TotalEvents)
		stats.ByType[t] = of
	}
	return stats
}

// maxSamples bounds how many deliveries the percentiles of a Hook are of.
const maxSamples = 10_000

func (s *Server) hookMetrics(ctx context.Context, in *hookStatsInput) (api.HookMetrics, error) {
	m := api.HookMetrics{Hook: api.Name(in.HookPath), TimeRange: in.TimeRange.TimeRange}
	st, err := s.viewOf(ctx, in.Cluster, in.Namespace)
	if err != nil {
		return m, err
	}
	from, to, now, err := s.spanNow(in.TimeRange)
	if err != nil {
		return m, err
	}
	m.Cluster = st.cluster()
	m.StartTime, m.EndTime = from, now
	if m.ActiveIncidents, m.LastFired, err = st.HookSummary(ctx, in.ref()); err != nil {
		return m, s.storeError(ctx, err)
	}
	counts, err := st.HookCounts(ctx, in.ref(), from, to)
	if err != nil {
		return m, s.storeError(ctx, err)
	}
	if m.Deliveries.Created, err = st.HookDeliveriesMade(ctx, in.ref(), from, to); err != nil {
		return m, s.storeError(ctx, err)
	}
	times, err := st.HookDeliveryTimes(ctx, in.ref(), from, to, maxSamples)
	if err != nil {
		return m, s.storeError(ctx, err)
	}
	countMetrics(&m, counts)
	measure(&m, times, now)
	if !st.own {
		return m, nil // the Hook's configurations, which a base rate is of, are known in its own cluster only
	}
	if m.Outcomes.BaseRate, err = s.baseRate(ctx, in.ref(), from, now); err != nil {
		return m, s.storeError(ctx, err)
	}
	return m, nil
}

// count takes over a Hook's counters.
func countMetrics(m *api.HookMetrics, counts map[string]int64) {
	m.Events.ByDisposition = map[delivery.Disposition]int64{}
	for _, d := range delivery.Dispositions() {
		n := counts["disposition:"+string(d)]
		m.Events.ByDisposition[d] = n
		m.Events.Total += n
	}
	m.Deliveries.ByState = map[delivery.State]int64{}
	for _, state := range delivery.States() {
		n := counts["delivery:"+string(state)]
		m.Deliveries.ByState[state] = n
		m.Deliveries.Ended += n
	}
	m.Tokens = api.HookTokens{
		Tokens:   api.Tokens{Total: counts[store.TokensCount], Prompt: counts[store.PromptTokensCount], Completion: counts[store.CompletionTokensCount]},
		Reported: counts[store.TokensToldCount], ByAgent: store.TokensByAgent(counts),
	}
	m.Deliveries.Skipped = counts[store.SkippedCount]
	m.Deliveries.SuccessRate = percentOf(m.Deliveries.ByState[delivery.Succeeded], m.Deliveries.Ended-m.Deliveries.Skipped)
	m.Outcomes.Recovered = counts["outcome:"+string(delivery.OutcomeRecovered)]
	m.Outcomes.RecoveredBeforeCall = counts[store.RecoveredCount(delivery.BeforeCall)]
	m.Outcomes.RecoveredDuringTask = counts[store.RecoveredCount(delivery.DuringTask)]
	m.Outcomes.RecoveredAfterTask = counts[store.RecoveredCount(delivery.AfterTask)]
	m.Outcomes.Relapsed = counts["outcome:"+string(delivery.OutcomeRelapsed)]
	m.Outcomes.Persisting = counts["outcome:"+string(delivery.OutcomePersisting)]
	m.Outcomes.Unknown = counts["outcome:"+string(delivery.OutcomeUnknown)]
	m.Outcomes.Effectiveness = percentOf(m.Outcomes.Recovered, m.Outcomes.Recovered+m.Outcomes.Relapsed+m.Outcomes.Persisting)
}

// measure adds what is under way, and the percentiles.
func measure(m *api.HookMetrics, times []store.DeliveryTimes, now time.Time) {
	var calls, recoveries []float64
	for _, d := range times {
		if !d.State.Ended() {
			m.Deliveries.ByState[d.State]++
		}
		if !d.State.Ended() || d.Outcome == "" && d.VerifyUntil.After(now.Add(-delivery.MaxDown)) {
			m.Outcomes.Open++
		}
		if !d.CalledAt.IsZero() && !d.EndedAt.IsZero() {
			calls = append(calls, d.EndedAt.Sub(d.CalledAt).Seconds())
		}
		if d.Outcome == delivery.OutcomeRecovered {
			recoveries = append(recoveries, d.OutcomeAt.Sub(d.CreatedAt).Seconds())
		}
	}
	m.Calls, m.Recovery = percentiles(calls), percentiles(recoveries)
}

// percentiles are the nearest ranks.
func percentiles(all []float64) api.Durations {
	if len(all) == 0 {
		return api.Durations{}
	}
	slices.Sort(all)
	rank := func(p float64) *float64 {
		v := max(0, all[int(math.Ceil(p*float64(len(all))))-1])
		return &v
	}
	return api.Durations{P50: rank(0.5), P95: rank(0.95), Samples: len(all)}
}
