package recorder

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/detect"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/kube"
	"github.com/kagent-dev/khook/internal/recording"
	"github.com/kagent-dev/khook/internal/replay"
)

func newTape(o Options) *Recorder {
	if o.MaxBytes == 0 {
		o.MaxBytes = MaxBytes
	}
	o.Tell = func(string) {}
	return &Recorder{options: o, began: time.Now(), full: make(chan struct{}), pods: map[string]*seenObject{}, events: map[string]*seenObject{}, names: newNames()}
}

// again records what a recording says, as if a cluster said it now, with the recording's times.
func again(t *testing.T, path string, o Options) *Recorder {
	t.Helper()
	rec, r := read(t, path), newTape(o)
	r.start = rec.Base
	for _, record := range rec.Records {
		if record.Pod != nil {
			r.record(record.Type, record.Pod, false)
		} else {
			r.record(record.Type, record.Event, false)
		}
		r.lines[len(r.lines)-1].t = record.T
	}
	return r
}

func read(t *testing.T, path string) *recording.Recording {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rec, err := recording.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// written is a recording as a file of the same name as another one.
func written(t *testing.T, r *Recorder, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), filepath.Base(name))
	var b bytes.Buffer
	if err := errors.Join(r.Write(&b), os.WriteFile(path, b.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
	return path
}

// story is what khook would have said and done about a recording, with a Hook that is about everything.
func story(t *testing.T, path string) *replay.Story {
	t.Helper()
	agent, prompt := "kagent/medic", "{{.ResourceName}} {{.Container}} {{.EventMessage}}"
	h := &v1alpha2.Hook{ObjectMeta: metav1.ObjectMeta{Name: "all"}}
	for _, of := range []string{"oom-kill", "pod-restart", "pod-pending", "probe-failed"} {
		h.Spec.EventConfigurations = append(h.Spec.EventConfigurations, v1alpha2.EventConfiguration{EventType: of, AgentId: &agent, Prompt: prompt})
	}
	told, err := replay.Run(t.Context(), []string{path}, []*v1alpha2.Hook{h}, replay.Options{Policy: hook.Policy{AgentNamespaces: []string{"kagent"}}, Settle: 15 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return told
}

func everyRecording(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, folder := range []string{"recordings", "cases"} {
		found, err := filepath.Glob(filepath.Join("..", "..", "test", folder, "*.jsonl"))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %d files, %v", folder, len(found), err)
		}
		all = append(all, found...)
	}
	return all
}

// TestWhatIsLeftOutOfARecordingChangesNothing: whatever detection reads is recorded. It fails when detection begins to read
// a field that slimPod or slimEvent leaves out, and a recording has it. With other names the same is seen at the same times,
// and none of the true names is in it.
func TestWhatIsLeftOutOfARecordingChangesNothing(t *testing.T) {
	for _, path := range everyRecording(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			whole, slim := signals(t, path), signals(t, written(t, again(t, path, Options{}), path))
			if diff := cmp.Diff(whole, slim, cmp.Transformer("secrets", withoutSecrets), cmpopts.EquateApproxTime(time.Millisecond)); diff != "" {
				t.Errorf("- whole, + slim\n%s", diff)
			}
			r := again(t, path, Options{Anonymize: true})
			hidden := written(t, r, path)
			if diff := cmp.Diff(unnamed(whole), unnamed(signals(t, hidden)), cmpopts.EquateApproxTime(time.Millisecond)); diff != "" {
				t.Errorf("- true names, + other names\n%s", diff)
			}
			text, err := os.ReadFile(hidden)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range append(r.names.order, "shop", "n1") {
				if strings.Contains(string(text), `"`+name+`"`) || len(name) > 6 && strings.Contains(string(text), name) {
					t.Errorf("%s is in it", name)
				}
			}
		})
	}
}

// signals are what detection says of a recording.
func signals(t *testing.T, path string) []incident.Signal {
	t.Helper()
	rec := read(t, path)
	for i := range rec.Records {
		if pod := rec.Records[i].Pod; pod != nil {
			kube.Reduce(pod)
		} else {
			kube.Reduce(rec.Records[i].Event)
		}
	}
	var all []incident.Signal
	err := detect.Play(rec, detect.Timing{}, 15*time.Minute, func(_ time.Time, next []incident.Signal) error {
		all = append(all, next...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// unnamed are signals without what has names in it, but for what kind of workload it was.
func unnamed(of []incident.Signal) []incident.Signal {
	all := slices.Clone(of)
	for i := range all {
		s := &all[i]
		s.Resource = incident.Resource{UID: s.Resource.UID}
		s.Workload.Name, s.Message, s.Attributes, s.Node, s.Container, s.Key = "", "", incident.Attributes{}, "", "", ""
	}
	return all
}

// TestAReplayOfWhatIsRecordedIsTheSame, also of what khook has no event type for.
func TestAReplayOfWhatIsRecordedIsTheSame(t *testing.T) {
	for _, name := range []string{"job-fail", "oom-hog"} {
		path := filepath.Join("..", "..", "test", "recordings", name+".jsonl")
		if diff := cmp.Diff(story(t, path), story(t, written(t, again(t, path, Options{}), path))); diff != "" {
			t.Errorf("- whole, + slim\n%s", diff)
		}
	}
}

// withoutSecrets is a text in which the name of the Secret or ConfigMap that a recording says is missing does not count.
func withoutSecrets(text string) string {
	return strings.NewReplacer(`"nope"`, `"?"`, `"secret-1"`, `"?"`, `"configmap-1"`, `"?"`).Replace(text)
}

func podNamed(namespace, name, version string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: "11111111-2222-3333-4444-555555555555", ResourceVersion: version, CreationTimestamp: metav1.Now()}}
}

func eventAbout(namespace, pod, name, note string) *eventsv1.Event {
	return &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, ResourceVersion: "9", CreationTimestamp: metav1.Now()}, Note: note, Type: "Warning", Reason: "FailedMount",
		Regarding: corev1.ObjectReference{Kind: "Pod", Namespace: namespace, Name: pod},
	}
}

// TestNamesOfSecretsAreInNoMessage: how the kubelet words what it says of them, and what a container says in a text that has
// nothing to do with them.
func TestNamesOfSecretsAreInNoMessage(t *testing.T) {
	pod := podNamed("shop", "cart", "1")
	pod.Spec = corev1.PodSpec{
		ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull-me"}},
		Containers: []corev1.Container{{
			Name: "app", Image: "cart:1", Command: []string{"/bin/app", "--password=hunter2"}, Args: []string{"--token=hunter2"},
			Env: []corev1.EnvVar{{Name: "PASSWORD", Value: "hunter2"}, {Name: "KEY", ValueFrom: &corev1.EnvVarSource{
				SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "db"}, Key: "the-key"}}}},
			EnvFrom:       []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings.v2"}}}},
			LivenessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{HTTPHeaders: []corev1.HTTPHeader{{Name: "Authorization", Value: "hunter2"}}}}},
		}},
		Volumes: []corev1.Volume{
			{Name: "a", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "tls-cart"}}},
			{Name: "b", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "projected-one"}}}}}}},
			{Name: "c", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{NodePublishSecretRef: &corev1.LocalObjectReference{Name: "for-the-driver"}}}},
		},
	}
	pod.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: "hunter2", corev1.MirrorPodAnnotationKey: "0123"}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{
		Reason: "CreateContainerConfigError", Message: "couldn't find key the-key in Secret shop/db."}}}}
	r := newTape(Options{})
	r.record(watch.Added, pod, true)
	notes := []string{
		`MountVolume.SetUp failed for volume "a" : secret "tls-cart" not found`, `configmap "settings.v2" not found`,
		`Unable to retrieve some image pull secrets (pull-me); attempting to pull the image may not succeed.`,
		`references non-existent secret: projected-one`, `secret for-the-driver is missing; db-migrate and my-db are others, as is the database`,
	}
	for i, note := range notes {
		r.record(watch.Added, eventAbout("shop", "cart", "e"+string(rune('0'+i)), note), false)
	}
	var b bytes.Buffer
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"hunter2", "PASSWORD", "settings.v2", "tls-cart", "pull-me", "projected-one", "for-the-driver", "shop/db", "last-applied"} {
		if strings.Contains(b.String(), name) {
			t.Errorf("%s is in it:\n%s", name, b.String())
		}
	}
	for _, part := range []string{`in Secret shop/secret-`, `db-migrate and my-db are others, as is the database`, `image pull secrets (secret-`, `configmap \"configmap-1\" not found`, "config.mirror"} {
		if !strings.Contains(b.String(), part) {
			t.Errorf("%s is not in it:\n%s", part, b.String())
		}
	}
}

// TestOtherNamesInWhatIsSaid: the same name is the same everywhere, also in what registries and the scheduler say.
func TestOtherNamesInWhatIsSaid(t *testing.T) {
	pod := podNamed("shop", "cart-7d4b9c-x2x9k", "1")
	controls := true
	pod.Labels = map[string]string{"app": "cart", "pod-template-hash": "7d4b9c"}
	pod.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "cart-7d4b9c", APIVersion: "apps/v1", Controller: &controls}}
	pod.Spec = corev1.PodSpec{NodeName: "ip-10-0-0-7.ec2.internal", Containers: []corev1.Container{{Name: "app", Image: "registry.example.com:5000/acme/cart:1.2.3"}, {Name: "side", Image: "busybox:1"}}}
	pod.Status.PodIPs = []corev1.PodIP{{IP: "10.1.2.3"}}
	r := newTape(Options{Anonymize: true})
	r.record(watch.Added, pod, true)
	for said, want := range map[string]string{
		`Readiness probe failed: Get "http://10.1.2.3:8080/healthz": dial tcp 10.1.2.3:8080: connect: connection refused`:               `Readiness probe failed: Get "http://ip-1:8080/healthz": dial tcp ip-1:8080: connect: connection refused`,
		`Failed to pull image "registry.example.com:5000/acme/cart:1.2.3": failed to resolve reference "docker.io/library/busybox:1"`:   `Failed to pull image "image-1": failed to resolve reference "image-2"`,
		`Head "https://registry.example.com:5000/v2/acme/cart/manifests/1.2.3": no such host`:                                           `Head "https://registry-1/v2/image-1/manifests/tag": no such host`,
		`Back-off restarting failed container app in pod cart-7d4b9c-x2x9k_shop(11111111-2222-3333-4444-555555555555)`:                  `Back-off restarting failed container app in pod workload-1-7d4b9c-x2x9k_namespace-1(11111111-2222-3333-4444-555555555555)`,
		`lookup cart.shop.svc.cluster.local: ip-10-0-0-7 says that persistentvolumeclaim "data-cart-0" of shopping is not found, cart.`: `lookup workload-1.namespace-1.svc.cluster.local: node-1 says that persistentvolumeclaim "data-workload-1-0" of shopping is not found, workload-1.`,
	} {
		if got := r.names.public(true).text("note", said); got != want {
			t.Errorf("%s\nbecame\n%s, want\n%s", said, got, want)
		}
	}
	object, err := r.names.public(true).cleaned(r.lines[0].object)
	if err != nil {
		t.Fatal(err)
	}
	text, err := recording.Line(0, watch.Added, true, object)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"app":"workload-1"`, `"pod-template-hash":"7d4b9c"`, `"name":"workload-1-7d4b9c"`, `"nodeName":"node-1"`, `"image":"image-1"`, `"uid":"11111111-2222-3333-4444-555555555555"`} {
		if !strings.Contains(string(text), part) {
			t.Errorf("no %s in %s", part, text)
		}
	}
}

func TestAFullRecordingEnds(t *testing.T) {
	r := newTape(Options{MaxBytes: 2000})
	for i := range 20 {
		r.record(watch.Added, eventAbout("shop", "cart", "e"+string(rune('a'+i)), "x"), false)
	}
	select {
	case <-r.full:
	default:
		t.Fatal("it goes on")
	}
	if n := len(r.lines); n == 0 || n > 5 || r.counts.Events != n {
		t.Errorf("%d lines, %+v", n, r.counts)
	}
}

// TestAListAfterABreakTellsWhatHasChanged, and no more: what is gone, what is new, and which Events came.
func TestAListAfterABreakTellsWhatHasChanged(t *testing.T) {
	r := newTape(Options{Namespaces: []string{"shop"}})
	pods := &objectWatch{recorder: r, resource: "pods", namespace: "shop", listed: make(chan struct{})}
	events := &objectWatch{recorder: r, resource: "events", namespace: "shop", listed: make(chan struct{})}
	list := func(w *objectWatch, objects ...any) []string {
		t.Helper()
		before := len(r.lines)
		if err := w.Replace(objects, ""); err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, l := range r.lines[before:] {
			name := ""
			switch o := l.object.(type) {
			case *corev1.Pod:
				name = o.Name
			case *eventsv1.Event:
				name = o.Name
			}
			if l.listed {
				name += " listed"
			}
			lines = append(lines, string(l.typ)+" "+name)
		}
		return lines
	}
	expect := func(got []string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	expect(list(pods, podNamed("shop", "stays", "1"), podNamed("shop", "goes", "2"), podNamed("shop", "changes", "3")), "ADDED stays listed", "ADDED goes listed", "ADDED changes listed")
	expect(list(events, eventAbout("shop", "stays", "old", "x")), "ADDED old listed")
	expect(list(pods, podNamed("shop", "stays", "1"), podNamed("shop", "changes", "4"), podNamed("shop", "comes", "5")), "MODIFIED changes", "MODIFIED comes", "DELETED goes")
	expect(list(events, eventAbout("shop", "stays", "old", "x"), eventAbout("shop", "comes", "new", "x"), eventAbout("shop", "came-and-went", "late", "x")), "MODIFIED new")
	expect(list(pods, podNamed("shop", "stays", "1"), podNamed("shop", "changes", "4"), podNamed("shop", "comes", "5")))
}

// TestWithASelectorEventsWaitForTheirPods: only the Pod tells whether its Events belong to the recording.
func TestWithASelectorEventsWaitForTheirPods(t *testing.T) {
	r := newTape(Options{Selector: "app=cart"})
	r.record(watch.Added, eventAbout("shop", "cart", "early", "x"), false)
	r.record(watch.Added, eventAbout("shop", "till", "foreign", "x"), false)
	if len(r.lines) != 0 {
		t.Fatalf("%+v", r.lines)
	}
	r.record(watch.Added, podNamed("shop", "cart", "1"), false)
	r.record(watch.Added, eventAbout("shop", "cart", "later", "x"), false)
	if r.counts != (Counts{Pods: 1, PodVersions: 1, Events: 2}) || len(r.early) != 1 {
		t.Errorf("%+v %d", r.counts, len(r.early))
	}
}
