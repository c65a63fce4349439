package scrape

import (
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// hidden are the labels whose values are names of what is in the cluster.
var hidden = []string{"namespace", "hook", "pod", "workload", "agent"}

// gauges say what a gauge is without its hidden labels: the worst of all, unless it counts. One that is not
// named is the largest.
var gauges = map[string]func(a, b float64) float64{
	"khook_watch_up": math.Min,
	"khook_watch_last_contact_timestamp_seconds": math.Min,
	"khook_watch_reopened":                       sum,
	"khook_watch_down_seconds":                   math.Max,
	"khook_watch_lag_seconds":                    math.Max,
}

func sum(a, b float64) float64 { return a + b }

// WithoutNamespaces has the metrics of a Gatherer under the same names, without the labels that name something in
// the cluster: series that differ in them only are put together, counters and histograms as their sum.
func WithoutNamespaces(g prometheus.Gatherer) prometheus.Gatherer {
	return prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		families, err := g.Gather()
		for i, f := range families {
			families[i] = without(f)
		}
		return families, err
	})
}

// without is a family without the hidden labels.
func without(f *dto.MetricFamily) *dto.MetricFamily {
	if !slices.ContainsFunc(f.Metric, func(m *dto.Metric) bool { return slices.ContainsFunc(m.Label, isHidden) }) {
		return f
	}
	shown := &dto.MetricFamily{Name: f.Name, Help: f.Help, Type: f.Type, Unit: f.Unit}
	known := map[string]*dto.Metric{}
	for _, m := range f.Metric {
		labels := slices.DeleteFunc(slices.Clone(m.Label), isHidden)
		key := keyOf(labels)
		if into := known[key]; into != nil {
			add(f, into, m)
			continue
		}
		first := plain(m)
		first.Label = labels
		known[key] = first
	}
	for _, key := range slices.Sorted(maps.Keys(known)) {
		shown.Metric = append(shown.Metric, known[key])
	}
	return shown
}

func isHidden(l *dto.LabelPair) bool { return slices.Contains(hidden, l.GetName()) }

func keyOf(labels []*dto.LabelPair) string {
	var key strings.Builder
	for _, l := range labels {
		key.WriteString(l.GetName() + "\x00" + l.GetValue() + "\x00")
	}
	return key.String()
}

// plain is a copy of a metric to which others can be added. Left out is what can't be added up, or is of one
// series only: exemplars, times, a summary's quantiles, a native histogram's buckets.
func plain(m *dto.Metric) *dto.Metric {
	copied := &dto.Metric{}
	switch {
	case m.Counter != nil:
		copied.Counter = &dto.Counter{Value: new(m.Counter.GetValue())}
	case m.Gauge != nil:
		copied.Gauge = &dto.Gauge{Value: new(m.Gauge.GetValue())}
	case m.Untyped != nil:
		copied.Untyped = &dto.Untyped{Value: new(m.Untyped.GetValue())}
	case m.Summary != nil:
		copied.Summary = &dto.Summary{SampleCount: new(m.Summary.GetSampleCount()), SampleSum: new(m.Summary.GetSampleSum())}
	case m.Histogram != nil:
		copied.Histogram = &dto.Histogram{SampleCount: new(m.Histogram.GetSampleCount()), SampleSum: new(m.Histogram.GetSampleSum())}
		for _, b := range m.Histogram.Bucket {
			copied.Histogram.Bucket = append(copied.Histogram.Bucket, &dto.Bucket{UpperBound: b.UpperBound, CumulativeCount: new(b.GetCumulativeCount())})
		}
	}
	return copied
}

// add puts a metric of a family into another one of it.
func add(f *dto.MetricFamily, into, m *dto.Metric) {
	combine := gauges[f.GetName()]
	if combine == nil {
		combine = math.Max
	}
	switch {
	case into.Counter != nil:
		*into.Counter.Value += m.Counter.GetValue()
	case into.Gauge != nil:
		*into.Gauge.Value = combine(into.Gauge.GetValue(), m.Gauge.GetValue())
	case into.Untyped != nil:
		*into.Untyped.Value = combine(into.Untyped.GetValue(), m.Untyped.GetValue())
	case into.Summary != nil:
		*into.Summary.SampleCount += m.Summary.GetSampleCount()
		*into.Summary.SampleSum += m.Summary.GetSampleSum()
	case into.Histogram != nil:
		*into.Histogram.SampleCount += m.Histogram.GetSampleCount()
		*into.Histogram.SampleSum += m.Histogram.GetSampleSum()
		for i, b := range into.Histogram.Bucket {
			if i < len(m.Histogram.Bucket) { // the buckets of a family are the same
				*b.CumulativeCount += m.Histogram.Bucket[i].GetCumulativeCount()
			}
		}
	}
}
