//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

// TestTheOtherPodGoesOnWithTheTaskOfALeaderThatIsLost runs two Pods on a PostgreSQL of this machine, and kills the one that leads while
// its agent works.
func TestTheOtherPodGoesOnWithTheTaskOfALeaderThatIsLost(t *testing.T) {
	c := connect(t)
	pg := pgtest.New(t)
	reached := pgtest.NewProxyOn(t, pg, os.Getenv("KHOOK_E2E_HOST")+":0").Address()
	_, text, err := net.SplitHostPort(reached)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	enough := make(chan struct{})
	r := newRelease(t, c, func(kagenttest.Message) kagenttest.Act { return kagenttest.Act{Until: enough, Answer: "looked at it"} }, map[string]any{
		"replicaCount": 2, "database": map[string]any{"url": pg.Through(pg.Schema(t), reached), "port": port}, "api": map[string]any{"tls": map[string]any{"mode": "self-signed"}},
	})
	notes := r.install("--take-ownership")
	if !strings.Contains(notes, "2 Pods run: one leads") {
		t.Errorf("notes: %s", notes)
	}
	ns := newNamespace(t, c)
	hook := hookAboutAll(ns)
	r.must(c.Create(t.Context(), hook))
	r.must(c.Create(t.Context(), crashOnce(ns)))
	call := []string{"pod-restart Deployment/crash-once"}
	await(t, "the agent is called", func() error {
		if got := r.called(); !slices.Equal(got, call) {
			return fmt.Errorf("%q", got)
		}
		return nil
	})
	r.mindItsRights()
	first := r.leader()
	r.must(c.Delete(t.Context(), &corev1.Pod{ObjectMeta: first.ObjectMeta}, client.GracePeriodSeconds(0)))
	await(t, "another Pod leads", func() error {
		if now := r.leader(); now == nil || now.UID == first.UID {
			return fmt.Errorf("it is %v", now)
		}
		return nil
	})
	close(enough)
	token := r.reader("", "view")
	await(t, "the delivery has its end", func() error {
		out, err := r.ask(token, "deliveries", "-n", ns, "-o", "json")
		if err != nil {
			return err
		}
		var list []struct {
			State   string
			Attempt int
		}
		if err := json.Unmarshal([]byte(out), &list); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		if len(list) != 1 || list[0].State != "succeeded" || list[0].Attempt != 1 {
			return fmt.Errorf("%+v", list)
		}
		return nil
	})
	if got := r.called(); !slices.Equal(got, call) {
		t.Errorf("the agents were called for %q", got)
	}
	r.mindItsRights()
}

// leader is the Pod that holds the Lease, if it is there.
func (r *release) leader() *corev1.Pod {
	lease := &coordinationv1.Lease{}
	if err := r.c.Get(r.Context(), client.ObjectKey{Namespace: r.ns, Name: "khook.kagent.dev"}, lease); err != nil || lease.Spec.HolderIdentity == nil {
		return nil
	}
	name, _, _ := strings.Cut(*lease.Spec.HolderIdentity, "_")
	pod := &corev1.Pod{}
	if err := r.c.Get(r.Context(), client.ObjectKey{Namespace: r.ns, Name: name}, pod); err != nil {
		return nil
	}
	return pod
}
