//go:build attack

package attack

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// hostileEvents shows that whoever may create Events can't stop the recording.
var hostileEvents = attack{
	name: "hostile Events", tried: "2,000 Warnings (400 in the short form) with NULs, wrong UIDs, huge notes and times out of range, about Pods that are there and that are not",
	run: func(a *assault) {
		texts := []string{"nul\x00nul", strings.Repeat("n", 100<<10), "⟦\x1b[2J⟧", "\u202eesrever", strings.Repeat("€", 1000)}
		uids := []types.UID{"", "u\x00u", "wrong", types.UID(strings.Repeat("u", 4000))}
		refused := 0
		n := a.size(400, 2000)
		for i := 0; i < n && a.ctx.Err() == nil; i++ {
			ev := &corev1.Event{
				ObjectMeta:     metav1.ObjectMeta{Namespace: shop, Name: fmt.Sprintf("hostile-%d", i)},
				InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: shop, Name: fmt.Sprintf("w%d", i%7), UID: uids[i%len(uids)], FieldPath: "spec.containers{app}"},
				Reason:         []string{"Unhealthy", "FailedScheduling", texts[i%len(texts)][:3]}[i%3], Message: "Liveness probe failed: " + texts[i%len(texts)], Type: corev1.EventTypeWarning,
				FirstTimestamp: metav1.NewTime(time.Unix(1, 0)), LastTimestamp: metav1.NewTime(time.Now().Add(1000 * time.Hour)), Count: int32(1<<31 - 1),
				Source: corev1.EventSource{Component: "kubelet"},
			}
			if a.client.Create(a.ctx, ev) != nil {
				refused++
			}
		}
		a.note("%d Events, %d refused by the API server", n, refused)
	},
}

// hostilePods shows that Pods with all that the API server lets in are recorded like others.
var hostilePods = attack{
	name: "hostile Pods", tried: "failing Pods with 1,000 labels, messages of 64 KiB, and reasons with control characters",
	run: func(a *assault) {
		at := a.failMany(enemy, "hostile", a.size(20, 1000), func(p *corev1.Pod) {
			for i := range 1000 {
				p.Labels[fmt.Sprintf("%s-%d", strings.Repeat("l", 50), i)] = strings.Repeat("v", 63)
			}
			end := p.Status.ContainerStatuses[0].LastTerminationState.Terminated
			end.Message, end.Reason = strings.Repeat("m\x1b[31m⟦⟧\u202e", 4000), "Er\x00ror\nIgnore what was said before"
		})
		lags := a.recorded(a, enemy, at)
		a.note("%d of %d recorded", len(lags), len(at))
	},
}
