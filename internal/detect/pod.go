package detect

import (
	"crypto/sha256"
	"encoding/hex"
	"hash/fnv"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
	"unique"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/json"

	"github.com/kagent-dev/khook/internal/incident"
)

// podKey is a Pod's UID in 16 bytes.
type podKey [16]byte

// keyOf is a UID's key.
func keyOf(uid string) podKey {
	key, _ := packUID(uid)
	return key
}

// packUID packs a UID so that it can be unpacked; one that is not a UUID as the API server writes
// them (a static Pod's has no dashes) is hashed, and packed is false.
func packUID(uid string) (k podKey, packed bool) {
	if len(uid) == 36 {
		hexed := strings.ReplaceAll(uid, "-", "")
		if n, err := hex.Decode(k[:], []byte(hexed)); err == nil && n == len(k) && k.uuid() == uid {
			return k, true
		}
	}
	sum := sha256.Sum256([]byte(uid))
	copy(k[:], sum[:])
	return k, false
}

// uuid unpacks a key that was packed.
func (k podKey) uuid() string {
	s := hex.EncodeToString(k[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

// podState is all that is kept of a Pod: what detection compares the next version with, and what
// a signal that no Pod update brings (a timer's, an Event's) must tell. What many Pods have in
// common is interned: of a large cluster each Pod takes about 300 bytes (BenchmarkPodMemory), which
// internal/capacity counts on. Once made it is never changed.
type podState struct {
	name       string // with the UID before it if that could not be packed, see packName
	namespace  unique.Handle[string]
	node       unique.Handle[string]
	labels     unique.Handle[string] // as JSON
	workload   unique.Handle[incident.Workload]
	containers []containerState
	created    uint32 // Unix seconds
	phase      phase
	flags      podFlags
}

type phase uint8

const (
	phaseOther phase = iota
	phasePending
	phaseRunning
	phaseSucceeded
	phaseFailed
)

var phases = map[corev1.PodPhase]phase{
	corev1.PodPending: phasePending, corev1.PodRunning: phaseRunning,
	corev1.PodSucceeded: phaseSucceeded, corev1.PodFailed: phaseFailed,
}

type podFlags uint8

const (
	podTerminating podFlags = 1 << iota
	podGated                // held by scheduling gates
	podHealthy              // all containers are as they should be
	podMirror               // shows a static Pod
	podNodeLost             // nothing is heard of its node
	podWindingDown          // all regular containers have ended for good
)

// containerState is what is kept of a container.
type containerState struct {
	spec     unique.Handle[containerSpec]
	id       uint64  // hash of the current instance's container ID; 0 if there is none
	ooms     *oomIDs // nil if none was OOM-killed
	restarts int32
	started  uint32 // Unix seconds at which the current instance started; 0 if it does not run
	readyAt  uint32 // Unix seconds since when its startup is over; 0 if it is not
	flags    containerFlags
}

type containerFlags uint8

const (
	containerRunning containerFlags = 1 << iota
	containerReady
	containerWasReady // the current instance was ready once
	containerStarted  // its startup probe, if there is one, has succeeded
	containerHeld     // waits for something that does not come by itself, such as CrashLoopBackOff or ImagePullBackOff
)

// containerSpec is what detection needs of a container's specification; many Pods share one.
type containerSpec struct {
	name      string
	kind      containerKind
	probes    [3]probeSpec // by probeKind
	memLimit  string       // the one in force
	memWished string       // the one that the specification has, if that is another
}

type containerKind uint8

const (
	regular containerKind = iota
	initial               // an init container
	sidecar               // an init container that is always restarted
)

// probeSpec is a probe's settings; threshold is 0 if the container has no such probe.
type probeSpec struct {
	threshold, initialDelay, period, timeout int32 // of failures; in seconds
}

func (c *containerState) has(f containerFlags) bool { return c.flags&f != 0 }
func (p *podState) has(f podFlags) bool             { return p.flags&f != 0 }

// over says whether the Pod runs no more, or is about to: it makes no new probe-failed and no new
// pod-pending.
func (p *podState) over() bool {
	return p.has(podTerminating) || p.phase == phaseSucceeded || p.phase == phaseFailed
}

// withOOM is the Pod with one more instance of a container that was told as OOM-killed.
func (p *podState) withOOM(container string, instance uint64) *podState {
	changed := *p
	changed.containers = slices.Clone(p.containers)
	if c := changed.container(container); c != nil {
		c.ooms = c.ooms.with(instance)
	}
	return &changed
}

// containerOrNil is container for a Pod that may not be known.
func (p *podState) containerOrNil(name string) *containerState {
	if p == nil {
		return nil
	}
	return p.container(name)
}

// container returns the state of a container, or nil. It must not be changed.
func (p *podState) container(name string) *containerState {
	for i := range p.containers {
		if p.containers[i].spec.Value().name == name {
			return &p.containers[i]
		}
	}
	return nil
}

// resource names the Pod in signals.
func (p *podState) resource(key podKey) incident.Resource {
	uid, name, odd := strings.Cut(p.name, uidEnd)
	if !odd {
		uid, name = key.uuid(), p.name
	}
	return incident.Resource{Kind: "Pod", Namespace: p.namespace.Value(), Name: name, UID: uid}
}

// uidEnd parts a UID that could not be packed from the name: neither can have it.
const uidEnd = "\x00"

// packName is what is kept of a Pod's name and UID.
func packName(name, uid string) string {
	if _, packed := packUID(uid); packed {
		return strings.Clone(name)
	}
	return strings.ReplaceAll(uid, uidEnd, "") + uidEnd + strings.ReplaceAll(name, uidEnd, "")
}

func (p *podState) labelMap() map[string]string {
	var m map[string]string
	if err := json.Unmarshal([]byte(p.labels.Value()), &m); err != nil {
		return nil
	}
	return m
}

// unixSeconds packs a time: Unix seconds, within the years 1970 to 2106.
func unixSeconds(t time.Time) uint32 { return uint32(min(max(0, t.Unix()), math.MaxUint32)) }

func hash(s string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s))
	return max(h.Sum64(), 1)
}

// encodeLabels writes labels as JSON with sorted keys, so that equal labels are one interned text.
func encodeLabels(labels map[string]string) string {
	if len(labels) == 0 {
		return "{}"
	}
	var b strings.Builder
	b.WriteByte('{')
	for i, k := range slices.Sorted(maps.Keys(labels)) {
		if i > 0 {
			b.WriteByte(',')
		}
		writeJSON(&b, k)
		b.WriteByte(':')
		writeJSON(&b, labels[k])
	}
	b.WriteByte('}')
	return b.String()
}

func writeJSON(b *strings.Builder, s string) {
	out, err := json.Marshal(s)
	if err != nil {
		out = []byte(`""`)
	}
	b.Write(out)
}
