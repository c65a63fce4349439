//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/kagent-dev/khook/internal/agent/kagenttest"
)

// A cluster takes a node for lost after 50 to 55 seconds. What has just restarted there must neither recover nor become quiet before.
const (
	stabilization = 75 * time.Second
	quietAfter    = 80 * time.Second
)

// truth is a khook that watches a node which does what real ones do.
type truth struct {
	*testing.T
	client.Client
	ns, api string
	pid     int // of khook
}

// seenIncident is what the API says of an incident.
type seenIncident struct {
	ID, EventType, Status, Resolution, ResourceName, Node string
	Workload                                              struct{ Kind, Name string }
	FirstSeen, ObservedAt, UnheardSince                   time.Time
	Events                                                int
}

// TestWhatIsSaidOfARealNodeIsTrue has, on a real node, what containerd and the kubelet tell strangely: a command that does not
// exist (containerd says that it started in 1970), a static Pod (whose Events name another UID); then khook is paused, and then
// the node is cut off and comes back.
func TestWhatIsSaidOfARealNodeIsTrue(t *testing.T) {
	manifests, config := os.Getenv("KHOOK_E2E_STATIC_PODS"), os.Getenv("KHOOK_E2E_KUBELET_CONFIG")
	if manifests == "" || config == "" {
		t.Skip(`the cluster of KUBECONFIG is not the one of "make e2e": its node can't be given static Pods and be halted`)
	}
	c := connect(t)
	installCRD(t)
	ns := newNamespace(t, c)
	f := &truth{T: t, Client: c, ns: ns, api: "127.0.0.1:18483"}
	began := time.Now()
	hook := hookAboutAll(ns)
	if err := c.Create(t.Context(), hook); err != nil {
		t.Fatal(err)
	}
	kagent := kagenttest.New(t, kagenttest.Options{})
	dir := t.TempDir()
	startKhook(t, dir, kagent.URL, "--api-auth", "none", "--api-bind-address", f.api, "--quiet-after", quietAfter.String(), "--stabilization", stabilization.String())
	f.pid = processWith(t, "--database", filepath.Join(dir, "khook.db"))
	f.fail(manifests)

	missing := f.firing("pod-restart", "missing-")
	if missing.FirstSeen.Before(began.Add(-time.Second)) || missing.FirstSeen.After(time.Now()) {
		t.Errorf("a command that does not exist failed first at %s, and the test began at %s", missing.FirstSeen, began)
	}
	await(t, "the Hook's status has what fails", func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(hook), hook); err != nil {
			return err
		}
		for _, e := range hook.Status.ActiveEvents {
			if strings.HasPrefix(e.ResourceName, "missing-") && hook.Status.LastFired != nil {
				return nil
			}
		}
		return fmt.Errorf("status: %+v", hook.Status)
	})
	static := f.firing("probe-failed", "static-")
	if static.Node == "" || static.Workload.Kind != "Pod" {
		t.Errorf("the static Pod's probe: %+v", static)
	}
	f.paused()
	if err := c.Create(t.Context(), once(ns)); err != nil {
		t.Fatal(err)
	}
	f.cutOff(config)
	called := map[string]int{}
	for _, m := range kagent.Messages() {
		if called[m.Text]++; called[m.Text] > 1 {
			t.Errorf("called again within its window: %s", m.Text)
		}
	}
	if len(called) == 0 {
		t.Error("no agent was called")
	}
}

// fail makes what fails: workloads, and a static Pod in the test's namespace.
func (f *truth) fail(manifests string) {
	f.Helper()
	neverReady := func(c *corev1.Container) {
		c.ReadinessProbe = &corev1.Probe{PeriodSeconds: 2, FailureThreshold: 3, ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(8099)}}}
	}
	missing := container("")
	missing.Command = []string{"/no/such/command"}
	for _, d := range []client.Object{
		deployment(f.ns, "missing", 1, corev1.PodSpec{Containers: []corev1.Container{missing}}),
		deployment(f.ns, "unready", 1, corev1.PodSpec{Containers: []corev1.Container{container("sleep 100000", neverReady)}}),
	} {
		if err := f.Create(f.Context(), d); err != nil {
			f.Fatal(err)
		}
	}
	grace := int64(1)
	pod := corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Namespace: f.ns, Name: "static"},
		Spec:       corev1.PodSpec{TerminationGracePeriodSeconds: &grace, Containers: []corev1.Container{container("sleep 100000", neverReady)}},
	}
	text, err := yaml.Marshal(pod)
	if err != nil {
		f.Fatal(err)
	}
	file := filepath.Join(manifests, f.ns+".yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = os.Remove(file) })
}

// once is a workload that crashes once.
func once(ns string) client.Object {
	all := workloads(ns)
	return all[slices.IndexFunc(all, func(d *appsv1.Deployment) bool { return d.Name == "crash-once" })]
}

// paused halts khook for longer than a problem must be silent to end, and lets it go on: it has seen nothing meanwhile.
func (f *truth) paused() {
	f.Helper()
	unready := f.firing("probe-failed", "unready-")
	halted := time.Now()
	f.signal(f.pid, syscall.SIGSTOP)
	await(f.T, "so much time has passed that a problem could end as quiet", func() error {
		if left := time.Until(halted.Add(quietAfter + 10*time.Second)); left > 0 {
			return fmt.Errorf("%s are left", left)
		}
		return nil
	})
	f.signal(f.pid, syscall.SIGCONT)
	await(f.T, "khook sees after the pause that the problem goes on", func() error {
		now, err := f.incident(unready.ID)
		if err != nil {
			return err
		}
		if now.Status != "firing" {
			f.Fatalf("after a pause of khook it ended: %+v", now)
		}
		if now.ObservedAt.Before(halted.Add(quietAfter + 10*time.Second)) {
			return fmt.Errorf("seen last at %s", now.ObservedAt)
		}
		return nil
	})
}

// cutOff halts the kubelet until the cluster takes the node for lost, and for longer than a problem must be silent to end. Then
// the node comes back.
func (f *truth) cutOff(config string) {
	f.Helper()
	// Kubernetes writes on the Pods of a lost node that were ready, and on no others: those go on as they were seen last.
	crashed, unready := f.firing("pod-restart", "crash-once-"), f.firing("probe-failed", "unready-")
	kubelet := processWith(f.T, "--config", config)
	f.signal(kubelet, syscall.SIGSTOP)
	f.Cleanup(func() { _ = syscall.Kill(kubelet, syscall.SIGCONT) })
	await(f.T, "the incident says that its node is lost, and stays open", func() error {
		now, err := f.incident(crashed.ID)
		switch {
		case err != nil:
			return err
		case now.Status != "firing":
			f.Fatalf("while its node is lost it ended: %+v", now)
		case now.UnheardSince.IsZero() || now.ObservedAt.Sub(now.UnheardSince) < quietAfter:
			return fmt.Errorf("%+v", now)
		}
		return nil
	})
	f.signal(kubelet, syscall.SIGCONT)
	await(f.T, "the node is heard of again, and then the Pod recovers", func() error {
		now, err := f.incident(crashed.ID)
		if err == nil && (!now.UnheardSince.IsZero() || now.Resolution != "recovered") {
			return fmt.Errorf("%+v", now)
		}
		return err
	})
	if now, err := f.incident(unready.ID); err != nil || now.Status != "firing" {
		f.Errorf("what failed all the time ended: %+v, %v", now, err)
	}
}

// firing waits for the open incident of a type on a Pod whose name begins so.
func (f *truth) firing(eventType, pod string) (found seenIncident) {
	f.Helper()
	await(f.T, eventType+" of "+pod+" is firing", func() error {
		all, err := f.incidents()
		if err != nil {
			return err
		}
		for _, i := range all {
			if i.EventType == eventType && i.Status == "firing" && strings.HasPrefix(i.ResourceName, pod) {
				found = i
				return nil
			}
		}
		return fmt.Errorf("incidents: %+v", all)
	})
	return found
}

func (f *truth) incident(id string) (seenIncident, error) {
	all, err := f.incidents()
	if err != nil {
		return seenIncident{}, err
	}
	i := slices.IndexFunc(all, func(s seenIncident) bool { return s.ID == id })
	if i < 0 {
		return seenIncident{}, errors.New("there is no such incident")
	}
	return all[i], nil
}

func (f *truth) incidents() ([]seenIncident, error) {
	resp, err := http.Get("http://" + f.api + "/api/v1/incidents?limit=100&namespace=" + f.ns)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var list struct{ Items []seenIncident }
	err = json.NewDecoder(resp.Body).Decode(&list)
	return list.Items, err
}

func (f *truth) signal(pid int, s syscall.Signal) {
	f.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		f.Fatal(err)
	}
}

// processWith finds the one process with these arguments, beside each other in its command line.
func processWith(t *testing.T, args ...string) int {
	t.Helper()
	want, found := strings.Join(args, "\x00")+"\x00", 0
	await(t, "there is a process with "+strings.Join(args, " "), func() error {
		dirs, err := filepath.Glob("/proc/[0-9]*")
		if err != nil {
			return err
		}
		for _, dir := range dirs {
			line, _ := os.ReadFile(filepath.Join(dir, "cmdline")) // it may have ended
			if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil && strings.Contains(string(line), want) {
				found = pid
				return nil
			}
		}
		return errors.New("there is none")
	})
	return found
}
