package detect

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kagent-dev/khook/internal/incident"
)

func TestAnEventAboutWhatCanBeNoPodIsNotTaken(t *testing.T) {
	good := corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: "web", UID: "6ab22e5b-35a4-4b0c-8a3b-4f1d7cf6a0d1"}
	if !isPod(&good) {
		t.Fatal("a Pod is none")
	}
	for name, change := range map[string]func(*corev1.ObjectReference){
		"a NUL in its UID":       func(r *corev1.ObjectReference) { r.UID = "a\x00b" },
		"a UID of half a MiB":    func(r *corev1.ObjectReference) { r.UID = types.UID(strings.Repeat("x", 1<<19)) },
		"a UID that is no UTF-8": func(r *corev1.ObjectReference) { r.UID = "\xff" },
		"a NUL in its name":      func(r *corev1.ObjectReference) { r.Name = "a\x00b" },
		"a NUL in its namespace": func(r *corev1.ObjectReference) { r.Namespace = "a\x00b" },
		"no UID":                 func(r *corev1.ObjectReference) { r.UID = "" },
	} {
		ref := good
		if change(&ref); isPod(&ref) {
			t.Errorf("%s: it is taken for a Pod", name)
		}
	}
}

func TestAnOwnersNameIsBoundedAndClean(t *testing.T) {
	yes := true
	for _, name := range []string{"a\x00b", strings.Repeat("x", 1<<19), "\xff"} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", OwnerReferences: []metav1.OwnerReference{{Kind: name, Name: name, Controller: &yes}}}}
		w := workloadOf(pod)
		if w != w.Fitted() || len(w.Kind) > incident.MaxKind || len(w.Name) > incident.MaxName || strings.Contains(w.String(), "\x00") {
			t.Errorf("%q", w)
		}
		if again := workloadOf(pod); again != w {
			t.Errorf("%q and then %q", w, again)
		}
	}
}
