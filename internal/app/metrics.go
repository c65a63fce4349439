package app

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/dispatch"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/ledger"
	"github.com/kagent-dev/khook/internal/metric"
	"github.com/kagent-dev/khook/internal/status"
)

// metrics are khook's own metrics. All labels are bounded: event types, states and words of khook.
type metrics struct {
	events        *prometheus.CounterVec
	dispositions  *prometheus.CounterVec
	active        *prometheus.GaugeVec
	resolutions   *prometheus.CounterVec
	reopenings    *prometheus.CounterVec
	calls         *prometheus.CounterVec
	callSeconds   *prometheus.HistogramVec
	deliveries    *prometheus.CounterVec
	outcomes      *prometheus.CounterVec
	agents        agentMetrics
	queued        *prometheus.GaugeVec
	held          *prometheus.GaugeVec
	pauses        *prometheus.GaugeVec
	oldest        prometheus.Gauge
	unfinished    *prometheus.GaugeVec
	stalled       prometheus.Gauge
	stalls        *prometheus.CounterVec
	storeSize     prometheus.Gauge
	diskSize      *prometheus.GaugeVec
	diskFree      *prometheus.GaugeVec
	kagentUp      *prometheus.GaugeVec
	droppedEvents *prometheus.CounterVec

	matchCost     prometheus.Counter
	tooCostly     prometheus.Counter
	putAside      *prometheus.CounterVec
	deadLetters   prometheus.Gauge
	droppedDeadly prometheus.Counter
}

func newMetrics(r prometheus.Registerer, version string) *metrics {
	plain := func(name, help string) prometheus.Counter {
		return metric.Register(r, prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help}))
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return metric.Register(r, prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels))
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return metric.Register(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels))
	}
	m := &metrics{
		events:       counter("khook_events_total", "Events recorded.", "event_type", "status"),
		dispositions: counter("khook_dispositions_total", "Decisions of Hooks about events: why an agent was or was not called.", "event_type", "disposition"),
		active:       gauge("khook_active_events", "Incidents that are open now.", "event_type"),
		resolutions:  counter("khook_incidents_resolved_total", "Incidents that ended.", "event_type", "resolution"),
		reopenings:   counter("khook_incidents_reopened_total", "Incidents that had ended as quiet, and were seen to go on.", "event_type"),
		calls:        counter("khook_api_calls_total", "Messages sent to agents.", "result"),
		callSeconds: metric.Register(r, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "khook_api_call_duration_seconds",
			Help:    "Time from sending a message to an agent to its first reply.",
			Buckets: prometheus.ExponentialBuckets(0.01, 2, 14),
		}, []string{"result"})),
		deliveries: counter("khook_deliveries_total", "Deliveries that reached a state.", "state"),
		outcomes:   counter("khook_outcomes_total", "What became of the incidents after the agent finished.", "outcome"),
		agents:     newAgentMetrics(counter),
		queued:     gauge("khook_deliveries_queued", "Deliveries that wait: due for their next step, or for their agent to have time.", "why"),
		held:       gauge("khook_groups_held_back", "Groups of resources for which agents are not called now, though they fail: because the budget is used up, because of the loop guard, while calls are paused, or until a person lets calls through.", "why"),
		pauses:     gauge("khook_pauses", "Pauses that stop calls now: of all Hooks, of the Hooks of a namespace, or of one Hook.", "scope"),
		oldest:     metric.Register(r, prometheus.NewGauge(prometheus.GaugeOpts{Name: "khook_delivery_oldest_pending_seconds", Help: "Age of the oldest delivery whose agent was not reached yet."})),
		storeSize:  metric.Register(r, prometheus.NewGauge(prometheus.GaugeOpts{Name: "khook_store_size_bytes", Help: "Size of the history on disk."})),

		stalled:    metric.Register(r, prometheus.NewGauge(prometheus.GaugeOpts{Name: "khook_deliveries_stalled", Help: "Deliveries whose agent's task is stalled now: nothing new was seen of it for stallAfter."})),
		stalls:     counter("khook_delivery_stalls_total", "Changes of tasks that stall: nothing new was seen of one for stallAfter, it goes on, or it did not end after its agent was asked to stop.", "change"),
		unfinished: gauge("khook_deliveries_unfinished", "Deliveries that have not ended.", "state"),

		// Those without a label are absent until they are known.
		diskSize: gauge("khook_store_disk_size_bytes", "Size of the file system that the history is on."),
		diskFree: gauge("khook_store_disk_free_bytes", "Room that is left on the file system that the history is on."),
		kagentUp: gauge("khook_kagent_up", "Whether kagent answered when it was last asked, every 30 seconds: 1 or 0."),

		matchCost:     plain("khook_match_cost_units_total", "What evaluating the match expressions of Hooks cost, in the units of CEL's cost model."),
		tooCostly:     plain("khook_match_over_budget_total", "How often a Hook's match expressions cost too much for a batch of events, so that the rest was not matched."),
		putAside:      counter("khook_signals_put_aside_total", "Signals from the cluster that could not be recorded because of what they say, and became dead letters.", "fault"),
		deadLetters:   metric.Register(r, prometheus.NewGauge(prometheus.GaugeOpts{Name: "khook_dead_letters", Help: "Dead letters that wait for a person: see khook dead-letters."})),
		droppedDeadly: plain("khook_dead_letters_dropped_total", "Dead letters that were lost because there were too many."),
		droppedEvents: counter("khook_hook_events_limited_total", "Kubernetes Events on Hooks that were held back by the rate limit.", "reason"),
	}
	gauge("khook_build_info", "What runs; always 1.", "version", "goversion").WithLabelValues(version, runtime.Version()).Set(1)
	m.begin()
	return m
}

// begin makes all series exist from the start: a rule that looks for an increase does not see the
// first one of a series that was not there before.
func (m *metrics) begin() {
	for _, t := range incident.EventTypes() {
		m.active.WithLabelValues(string(t)).Set(0)
		m.events.WithLabelValues(string(t), string(incident.Firing))
		m.events.WithLabelValues(string(t), string(incident.Duplicate))
		for _, d := range delivery.Dispositions() {
			m.dispositions.WithLabelValues(string(t), string(d))
		}
		m.reopenings.WithLabelValues(string(t))
		for _, r := range []incident.Resolution{incident.Recovered, incident.Quiet, incident.WasGone} {
			m.resolutions.WithLabelValues(string(t), string(r))
		}
	}
	for _, result := range []string{"success", "error"} {
		m.calls.WithLabelValues(result)
		m.callSeconds.WithLabelValues(result)
	}
	for _, state := range delivery.States() {
		m.deliveries.WithLabelValues(string(state))
	}
	for _, change := range delivery.StallChanges() {
		m.stalls.WithLabelValues(string(change))
	}
	for _, fault := range incident.Faults() {
		m.putAside.WithLabelValues(string(fault))
	}
	for _, reason := range status.Reasons() {
		m.droppedEvents.WithLabelValues(reason)
	}
	for _, o := range delivery.Outcomes() {
		m.outcomes.WithLabelValues(string(o))
	}
}

func (m *metrics) recorded(a ledger.Applied) {
	for _, e := range a.Events {
		m.events.WithLabelValues(string(e.Type), string(e.Status)).Inc()
	}
	for _, d := range a.Decisions {
		m.dispositions.WithLabelValues(string(d.EventType), string(d.Disposition)).Inc()
	}
	for _, inc := range a.Resolved {
		m.resolutions.WithLabelValues(string(inc.Type), string(inc.Resolution)).Inc()
	}
	for _, inc := range a.Reopened {
		m.reopenings.WithLabelValues(string(inc.Type)).Inc()
	}
	for _, t := range incident.EventTypes() {
		m.active.WithLabelValues(string(t)).Set(float64(a.OpenByType[t]))
	}
	m.matchCost.Add(float64(a.MatchCost))
	m.tooCostly.Add(float64(len(a.TooCostly)))
	for _, d := range a.SetAside {
		m.putAside.WithLabelValues(string(d.Fault)).Inc()
	}
	m.droppedDeadly.Add(float64(a.Dropped))
	if n := len(a.Deliveries); n > 0 {
		m.deliveries.WithLabelValues(string(delivery.Pending)).Add(float64(n))
	}
}

func (m *metrics) delivered(c dispatch.Change) {
	if c.Took > 0 || c.Err != nil {
		result := "success"
		if c.Err != nil {
			result = "error"
		}
		m.calls.WithLabelValues(result).Inc()
		m.callSeconds.WithLabelValues(result).Observe(c.Took.Seconds())
	}
	if c.Delivery.State != c.From {
		m.deliveries.WithLabelValues(string(c.Delivery.State)).Inc()
	}
	if c.Stall != delivery.StallNone {
		m.stalls.WithLabelValues(string(c.Stall)).Inc()
	}
	if c.Delivery.Outcome != "" {
		m.outcomes.WithLabelValues(string(c.Delivery.Outcome)).Inc()
	}
	m.agents.delivered(c)
}
