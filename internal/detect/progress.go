package detect

import (
	"cmp"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"

	"github.com/kagent-dev/khook/internal/incident"
)

// progress is what a Normal Event says is being done about a Pod that is Pending. While something is done, a minute says
// nothing: a node that is made takes several, and so does a large image.
type progress struct {
	kind      progressKind
	reason    string
	container string // whose image is pulled
	at        time.Time
	note      string
}

type progressKind uint8

const (
	noProgress progressKind = iota
	scalingUp               // a node is made for it
	pulling                 // the image of a container is pulled
)

// How long the kinds of progress put off that a Pod is told as Pending, at most.
var progressLasts = map[progressKind]time.Duration{scalingUp: 10 * time.Minute, pulling: 5 * time.Minute}

// progressMost is how long a Pod may be Pending, whatever progress is told of it.
const progressMost = 15 * time.Minute

// maxProgressNote bounds what is kept of such an Event's text, in bytes.
const maxProgressNote = 256

// parseProgress reads a Normal Event about what is done for a Pod; nil if it is about something else. The cluster autoscaler
// writes TriggeredScaleUp, and NotTriggerScaleUp when it can't help
// (cluster-autoscaler/processors/status/eventing_scale_up_processor.go); Karpenter writes Nominated (pkg/controllers/provisioning/scheduling, NominatePodEvent); the
// kubelet writes Pulling (pkg/kubelet/images/image_manager.go, pullImage).
func parseProgress(ev *eventsv1.Event, now time.Time) *progress {
	if ev.Type != corev1.EventTypeNormal {
		return nil
	}
	p := progress{reason: ev.Reason, at: lastSeen(ev, now)}
	switch ev.Reason {
	case "TriggeredScaleUp", "Nominated":
		p.kind = scalingUp
	case "NotTriggerScaleUp":
		p.kind = noProgress
	case "Pulling":
		path := containerPath.FindStringSubmatch(ev.Regarding.FieldPath)
		if path == nil {
			return nil
		}
		p.kind, p.container = pulling, path[1]
	default:
		return nil
	}
	p.note = incident.Clean(ev.Note, maxProgressNote)
	return &p
}

// progressed is the rule for Events that say what is done for a Pod that is Pending. The newest counts. The Event's time is
// a node's, or an autoscaler's: it is none from before the Pod began to wait.
func progressed(known state, seen observed) (state, []incident.Signal) {
	if seen.progress == nil || known.problems == nil || known.problems.pending == nil {
		return known, nil
	}
	p := *known.problems.pending
	newer := *seen.progress
	if newer.at.Before(p.since) {
		newer.at = seen.now
	}
	if newer.at.Before(p.progress.at) || known.pod.pullsAgain(newer) {
		return known, nil
	}
	p.progress = newer
	return known.with(func(now *problems) { now.pending = &p }), nil
}

// pullsAgain says whether an image is pulled for a container that has run: it may be asked for at each restart.
func (p *podState) pullsAgain(newer progress) bool {
	c := p.container(newer.container)
	return newer.kind == pulling && c != nil && c.id != 0 && (c.restarts > 0 || time.Unix(int64(c.started), 0).Before(newer.at))
}

// due is when a Pod has been Pending for too long: a minute after it began to wait or, where something was done since, after
// that has come to its end. What is still being done puts it off to a bound, and no longer.
func (s *pendingState) due(pod *podState, p *problems, timing Timing) time.Time {
	due := s.since.Add(timing.PendingAfter)
	var (
		end     time.Time
		ongoing bool
	)
	switch s.progress.kind {
	case scalingUp:
		if end, ongoing = s.scheduled, pod.node.Value() == ""; !ongoing && !isVague(s.why.reason) {
			return due // it has its node, and something else is wrong
		}
	case pulling:
		c := pod.container(s.progress.container)
		if c == nil || c.restarts > 0 || !isVague(s.why.reason) || p.volumeWarning.at.After(s.progress.at) {
			return due // it restarts, it waits for something else, or the pull has failed
		}
		end, ongoing = time.Unix(int64(c.started), 0), c.id == 0
	default:
		return due
	}
	if ongoing {
		end = s.progress.at.Add(progressLasts[s.progress.kind])
	} else {
		end = latest(s.progress.at, end).Add(timing.PendingAfter)
	}
	if most := s.since.Add(progressMost); end.After(most) {
		end = most
	}
	return latest(due, end)
}

// reasonWith is why the Pod is Pending in words, with what is still being done about it.
func (s *pendingState) reasonWith(pod *podState, why warning) string {
	c := pod.container(s.progress.container)
	switch {
	case s.progress.kind == scalingUp && pod.node.Value() == "", s.progress.kind == pulling && isVague(why.reason) && c != nil && c.id == 0:
		return fmt.Sprintf("%s since %s (%s): %s", s.progress.reason, s.progress.at.UTC().Format(time.RFC3339), cmp.Or(s.progress.note, "no more is said"), why.message)
	}
	return why.message
}

// scheduledAt is when the Pod got its node; zero if it has none (pkg/registry/core/pod/storage/storage.go,
// setPodNodeAndMetadata).
func (l observed) scheduledAt() time.Time {
	if l.pod.Spec.NodeName == "" {
		return time.Time{}
	}
	at, _ := l.when(condition(l.pod, corev1.PodScheduled).LastTransitionTime.Time)
	return at
}
