package detect

import "github.com/kagent-dev/khook/internal/incident"

// volumeWarned is the rule for Warnings about a volume or the sandbox of a Pod: they make no signal of
// their own, but say why it is Pending. The kubelet writes them (reasons in pkg/kubelet/events/event.go)
// and, of FailedAttachVolume, the attach-detach controller.
func volumeWarned(known state, seen observed) (state, []incident.Signal) {
	if seen.warning == nil || known.pod.phase != phasePending || known.problems == nil {
		return known, nil
	}
	return known.with(func(p *problems) { p.volumeWarning = *seen.warning }), nil
}
