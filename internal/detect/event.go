package detect

import (
	"regexp"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"

	"github.com/kagent-dev/khook/internal/incident"
)

// probeFailure is what a version of an Event says of a probe.
type probeFailure struct {
	probe       probe
	errored     bool // the probe itself could not be made, see withoutResult
	message     string
	event       string    // the Event's name
	count       int32     // how many failures it stands for, all instances of the container together; at least 1
	first, last time.Time // of the Event's failures; last is not after the look
}

// unhealthyNote is how the kubelet words a failed probe (pkg/kubelet/prober/prober.go, probe), also
// where its recorder has combined several wordings (client-go, tools/record/events_cache.go,
// EventAggregate). "errored" means that the probe itself could not be made, see withoutResult.
var unhealthyNote = regexp.MustCompile(`(?s)^(?:\(combined from similar events\): )?((Liveness|Readiness|Startup) probe (failed|errored)\b.*)$`)

var probeKinds = map[string]probeKind{"Liveness": liveness, "Readiness": readiness, "Startup": startup}

// containerPath is how an Event names the container that it is about
// (pkg/kubelet/container/ref.go, fieldPath).
var containerPath = regexp.MustCompile(`^spec\.(?:initContainers|containers)\{([-a-z0-9]{1,63})\}$`)

// parseProbeFailure reads an Event about a failed probe; nil if it is about something else.
func parseProbeFailure(ev *eventsv1.Event, now time.Time) *probeFailure {
	if ev.Reason != "Unhealthy" { // pkg/kubelet/events/event.go, ContainerUnhealthy
		return nil
	}
	note := unhealthyNote.FindStringSubmatch(ev.Note)
	path := containerPath.FindStringSubmatch(ev.Regarding.FieldPath)
	if note == nil || path == nil {
		return nil
	}
	return &probeFailure{
		probe: probe{path[1], probeKinds[note[2]]}, errored: note[3] == "errored", message: note[1],
		event: ev.Name, count: countOf(ev), first: firstSeen(ev), last: lastSeen(ev, now),
	}
}

// parseVolumeWarning reads an Event about a volume or the sandbox of a Pod; nil if it is about
// something else.
func parseVolumeWarning(ev *eventsv1.Event, now time.Time) *volumeWarning {
	switch ev.Reason {
	case "FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox", "FailedMapVolume":
		return &volumeWarning{warning{ev.Reason, incident.Clean(ev.Note, incident.MaxMessage)}, lastSeen(ev, now)}
	}
	return nil
}

// isPod says whether an Event is about something that can be a Pod. The API server does not check
// it, and whoever may write Events chooses it: a NUL, or half a megabyte, where a UID should be.
func isPod(ref *corev1.ObjectReference) bool {
	return ref.Kind == "Pod" && isName(string(ref.UID), maxUID) && isName(ref.Name, incident.MaxName) &&
		(ref.Namespace == "" || isName(ref.Namespace, incident.MaxName))
}

const maxUID = 64 // bytes; UUIDs have 36

// isName says whether a text can name an object: it is there, not too long, and clean.
func isName(text string, limit int) bool {
	return text != "" && len(text) <= limit && incident.Clean(text, limit) == text
}

// countOf is how many occurrences the Event stands for. The kubelet still writes Events of the older
// API, whose count comes through as DeprecatedCount.
func countOf(ev *eventsv1.Event) int32 {
	if ev.Series != nil {
		return max(1, ev.Series.Count)
	}
	return max(1, ev.DeprecatedCount)
}

// lastSeen is when the Event happened last, at most now.
func lastSeen(ev *eventsv1.Event, now time.Time) time.Time {
	at := ev.EventTime.Time
	if ev.Series != nil {
		at = ev.Series.LastObservedTime.Time
	}
	if at.IsZero() {
		at = ev.DeprecatedLastTimestamp.Time
	}
	if at.IsZero() || at.After(now) {
		return now
	}
	return at
}

// firstSeen is when the Event happened first.
func firstSeen(ev *eventsv1.Event) time.Time {
	if !ev.DeprecatedFirstTimestamp.IsZero() {
		return ev.DeprecatedFirstTimestamp.Time
	}
	if !ev.EventTime.IsZero() {
		return ev.EventTime.Time
	}
	return ev.CreationTimestamp.Time
}
