package chart

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// TestThereAreSeveralPodsOnlyWhereTheHistoryIsForSeveral follows the value to the Pods, and to what lets one be replaced without a gap.
func TestThereAreSeveralPodsOnlyWhereTheHistoryIsForSeveral(t *testing.T) {
	const database = "database.url=postgres://khook@db/khook"
	type looks struct {
		Replicas  int32
		Strategy  appsv1.DeploymentStrategyType
		Spread    string
		NotReady  bool // Pods that are not ready are asked
		Volume    bool
		Authority bool // is in a Secret
		Delay     any
	}
	for name, c := range map[string]struct {
		set  string
		want looks
	}{
		"SQLite":                     {"replicaCount=1", looks{1, appsv1.RecreateDeploymentStrategyType, "", true, true, false, nil}},
		"SQLite, and three":          {"replicaCount=3,api.tls.mode=self-signed", looks{1, appsv1.RecreateDeploymentStrategyType, "", true, true, false, nil}},
		"none":                       {"replicaCount=0," + database, looks{0, appsv1.RollingUpdateDeploymentStrategyType, "", false, false, false, "5s"}},
		"PostgreSQL":                 {database, looks{1, appsv1.RollingUpdateDeploymentStrategyType, "", false, false, false, "5s"}},
		"three":                      {"replicaCount=3," + database, looks{3, appsv1.RollingUpdateDeploymentStrategyType, "ScheduleAnyway kubernetes.io/hostname, ScheduleAnyway topology.kubernetes.io/zone", false, false, false, "5s"}},
		"three with their authority": {"replicaCount=3,api.tls.mode=self-signed," + database, looks{3, appsv1.RollingUpdateDeploymentStrategyType, "ScheduleAnyway kubernetes.io/hostname, ScheduleAnyway topology.kubernetes.io/zone", false, false, true, "5s"}},
		"one without an election":    {"controller.leaderElection.enabled=false," + database, looks{1, appsv1.RecreateDeploymentStrategyType, "", false, false, false, "5s"}},
	} {
		t.Run(name, func(t *testing.T) {
			all := objects(t, render(t, "--set", c.set))
			d := decodeInto[appsv1.Deployment](t, named(t, all, "Deployment", "khook"))
			var spread []string
			for _, s := range d.Spec.Template.Spec.TopologySpreadConstraints {
				if s.LabelSelector == nil || s.LabelSelector.MatchLabels["app.kubernetes.io/instance"] != "khook" {
					t.Errorf("%s counts other Pods than khook's", s.TopologyKey)
				}
				spread = append(spread, fmt.Sprint(s.WhenUnsatisfiable, " ", s.TopologyKey))
			}
			got := looks{
				Replicas: *d.Spec.Replicas, Strategy: d.Spec.Strategy.Type, Spread: strings.Join(spread, ", "),
				NotReady:  decodeInto[corev1.Service](t, named(t, all, "Service", "khook")).Spec.PublishNotReadyAddresses,
				Volume:    len(ofKind(all, "PersistentVolumeClaim", "khook-history")) == 1,
				Authority: len(ofKind(all, "Secret", "khook-authority")) == 1,
				Delay:     chartFlags(t, all)["shutdown-delay"],
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if secret := chartFlags(t, all)["tls-authority-secret"]; (secret == "khook-authority") != got.Authority {
				t.Errorf("khook keeps its authority in %v", secret)
			}
			if r := d.Spec.Strategy.RollingUpdate; got.Strategy == appsv1.RollingUpdateDeploymentStrategyType && (r.MaxUnavailable.IntValue() != 0 || r.MaxSurge.IntValue() != 1) {
				t.Errorf("an old Pod ends before a new one is ready: %v", r)
			}
		})
	}
}

func TestReplicasThatWouldAllCallAreRefused(t *testing.T) {
	_, err := helm(t, "template", "khook", chart, "--set", "replicaCount=2,database.url=postgres://x,controller.leaderElection.enabled=false")
	if err == nil || !strings.Contains(err.Error(), "turn the leader election on") {
		t.Error(err)
	}
}

func TestTheNotesSayHowManyPodsRun(t *testing.T) {
	for set, want := range map[string]string{
		"replicaCount=2": "replicaCount is 2, and 1 Pod runs",
		"replicaCount=2,database.url=postgres://x": "2 Pods run: one leads, which watches and calls, and all answer",
		"replicaCount=0": "khook does not run",
	} {
		out, err := helm(t, "install", "khook", chart, "-n", "kagent", "--dry-run=client", "--set", set)
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("%s: %v, and not %q", set, err, want)
		}
	}
}
