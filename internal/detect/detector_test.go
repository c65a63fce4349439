package detect

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kagent-dev/khook/internal/incident"
)

// opened is the incident of the scene's newest signal, as the history has it.
func (s *scene) opened() *incident.Incident {
	s.t.Helper()
	all := s.observed()
	if len(all) == 0 {
		s.t.Fatal("nothing was told")
	}
	return incident.Open(incident.Origin{}, &all[len(all)-1])
}

func TestAfterARestartOfKhook(t *testing.T) {
	crashed := func(s *scene) *incident.Incident {
		s.run("app")
		s.wait(10 * oneSecond)
		s.crash("app", 137, "OOMKilled", oneSecond)
		inc := s.opened()
		s.wait(10 * oneSecond)
		return inc
	}
	tell(t, []story{
		{"what was told has the same key, so it is no second event", nil, func(s *scene) {
			crashed(s)
			first := keys(s.signals)
			s.signals = nil
			s.restartKhook()
			s.list()
			if second := keys(s.signals); len(second) != 2 || second[0] != first[0] || second[1] != first[1] {
				s.t.Errorf("keys %q, then %q", first, second)
			}
		}, []string{"oom-kill web app x1", "pod-restart web app x1 by oom-kill"}},
		{"an incident whose Pod was deleted meanwhile ends as gone", nil, func(s *scene) {
			inc := crashed(s)
			s.signals = nil
			s.restartKhook(inc)
			s.signals = append(s.signals, s.d.Listed(s.now, "", nil)...)
			if len(s.signals) != 1 || s.signals[0].Kind != incident.Gone || s.signals[0].Resource != inc.Resource {
				s.t.Errorf("told %+v", s.signals)
			}
			s.signals = nil
		}, nil},
		{"an incident of another namespace than the listed one stays", nil, func(s *scene) {
			inc := crashed(s)
			s.restartKhook(inc)
			s.signals = s.d.Listed(s.now, "other", nil)
		}, nil},
		{"an incident that recovered meanwhile ends after it was healthy for a while", nil, func(s *scene) {
			inc := crashed(s)
			s.wait(2 * time.Hour)
			s.restartKhook(inc)
			s.signals = nil
			s.list()
			s.wait(119 * oneSecond)
			s.says()
			s.wait(2 * oneSecond)
		}, []string{"pod-restart web app x0 then healthy"}},
		{"restarts from before the catch-up are not told, later ones are", nil, func(s *scene) {
			crashed(s)
			s.wait(2 * time.Hour)
			s.restartKhook()
			s.signals = nil
			s.list()
			s.says()
			s.crash("app", 1, "Error", oneSecond)
			s.wait(30 * time.Minute)
			s.restartKhook()
			s.signals = nil
			s.list()
		}, []string{"pod-restart web app x1"}},
		{"a probe that had failed and recovered is told under the same key", withReadiness(httpProbe(3, 10, 0)), func(s *scene) {
			s.run("app")
			s.ready("app", true)
			s.wait(time.Minute)
			s.probes("app", notReady, 5, 10*oneSecond)
			s.ready("app", false)
			s.ready("app", true)
			before := keys(s.signals)
			s.wait(20 * time.Minute)
			s.restartKhook()
			s.signals = nil
			s.list()
			for _, ev := range s.events {
				s.see(ev, true)
			}
			if got := keys(s.signals); len(got) != 1 || got[0] != before[0] {
				s.t.Errorf("keys %q, then %q", before, got)
			}
			s.wait(time.Minute)
		}, []string{"probe-failed web app x1 then healthy"}},
		{"failures that were never in a row are nothing at a first sight", withReadiness(httpProbe(3, 10, 0)), func(s *scene) {
			s.run("app")
			s.ready("app", true)
			s.probes("app", notReady, 9, 5*time.Minute)
			s.restartKhook()
			s.list()
			for _, ev := range s.events {
				s.see(ev, true)
			}
		}, nil},
		{"an Event from before the catch-up is nothing", withReadiness(httpProbe(1, 10, 0)), func(s *scene) {
			s.run("app")
			s.probes("app", notReady, 2, 10*oneSecond)
			s.signals = nil
			s.wait(2 * time.Hour)
			s.restartKhook()
			s.list()
			for _, ev := range s.events {
				s.see(ev, true)
			}
		}, nil},
	})
}

func TestWorkloads(t *testing.T) {
	yes := true
	created := metav1.NewTime(noon)
	for _, c := range []struct {
		name, kind, owner string
		labels            map[string]string
		want              string
	}{
		{"a Deployment's", "ReplicaSet", "web-7d9f8b6c5", map[string]string{"pod-template-hash": "7d9f8b6c5"}, "Deployment/web"},
		{"a Rollout's", "ReplicaSet", "web-5f6", map[string]string{"rollouts-pod-template-hash": "5f6"}, "Rollout/web"},
		{"a ReplicaSet's of its own", "ReplicaSet", "web-5f6", nil, "ReplicaSet/web-5f6"},
		{"a StatefulSet's", "StatefulSet", "db", map[string]string{"apps.kubernetes.io/pod-index": "0"}, "StatefulSet/db"},
		{"a DaemonSet's", "DaemonSet", "logs", nil, "DaemonSet/logs"},
		{"a CronJob's", "Job", "report-29538000", nil, "CronJob/report"},
		{"a Job's", "Job", "migrate", nil, "Job/migrate"},
		{"a Job's that ends with a date", "Job", "report-20260301", nil, "Job/report-20260301"},
		{"a static one", "Node", "n1", nil, "Pod/web"},
		{"one of an operator", "Widget", "w", nil, "Widget/w"},
		{"one on its own", "", "", nil, "Pod/web"},
	} {
		t.Run(c.name, func(t *testing.T) {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: c.labels, CreationTimestamp: created}}
			if c.kind != "" {
				pod.OwnerReferences = []metav1.OwnerReference{{Kind: c.kind, Name: c.owner, Controller: &yes}}
			}
			if got := workloadOf(pod).String(); got != c.want {
				t.Errorf("it is %s, want %s", got, c.want)
			}
		})
	}
}

func TestAPodKeepsItsUIDWhateverItsForm(t *testing.T) {
	for _, uid := range []types.UID{
		"6ab22e5b-35a4-4b0c-8a3b-4f1d7cf6a0d1",
		"6AB22E5B-35A4-4B0C-8A3B-4F1D7CF6A0D1",
		"d41d8cd98f00b204e9800998ecf8427e", // a static Pod's
		"6ab22e5b-35a4-4b0c-8a3b4f1d7cf6a0d1-",
		"zzzzzzzz-35a4-4b0c-8a3b-4f1d7cf6a0d1",
	} {
		t.Run(string(uid), func(t *testing.T) {
			s := newScene(t)
			s.pod.UID = uid
			s.put()
			s.run("app")
			s.crash("app", 1, "Error", oneSecond)
			if got := s.observed()[0].Resource.UID; got != string(uid) {
				t.Errorf("the signal's UID is %q", got)
			}
			s.remove()
			s.says("pod-restart web app x1 then gone")
		})
	}
}

func TestNothingIsKeptOfPodsThatAreGoneOrWell(t *testing.T) {
	s := newScene(t, corev1.Container{Name: "app", ReadinessProbe: httpProbe(3, 10, 0)})
	s.put()
	s.run("app")
	s.ready("app", true)
	s.probes("app", notReady, 2, 10*oneSecond)
	s.crash("app", 1, "Error", oneSecond)
	s.ready("app", true)
	s.wait(3 * time.Hour)
	if len(s.d.troubled) != 0 {
		t.Errorf("%d Pods are still in trouble", len(s.d.troubled))
	}
	s.probes("app", notReady, 3, 10*oneSecond)
	s.remove()
	if _, ok := s.d.Next(); ok || len(s.d.pods)+len(s.d.troubled) != 0 {
		t.Errorf("%d Pods, %d in trouble, timer %v", len(s.d.pods), len(s.d.troubled), ok)
	}
}

func TestWhileTheClusterIsNotWatchedNothingGoesOn(t *testing.T) {
	s := newScene(t)
	s.put()
	s.wait(2 * time.Minute)
	s.d.SetLive(false)
	s.signals = nil
	s.wait(time.Hour)
	if len(s.signals) != 0 {
		t.Errorf("told %+v", s.signals)
	}
	s.d.SetLive(true)
	s.put()
	s.wait(10 * time.Minute)
	if len(s.signals) == 0 || s.signals[0].Kind != incident.Ongoing {
		t.Error("watched again, it does not go on")
	}
}
