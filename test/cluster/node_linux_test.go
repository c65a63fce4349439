package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// needsNode skips a test that changes the machine for a while, unless that was asked for. It waits
// for the end of a run that others have on this machine.
func needsNode(t *testing.T) {
	t.Helper()
	if os.Getenv("KHOOK_TEST_NODE") == "" {
		t.Skip("runs a real node: set KHOOK_TEST_NODE=1, as root on Linux")
	}
	await(t, "no other run has the node", func() bool {
		held, err := tryLock(filepath.Join(nodeHome, lockName), 0)
		if err == nil {
			held.Close()
			out, err := program(t, t.TempDir(), "run", "--", "true").CombinedOutput()
			if err != nil {
				t.Fatalf("remove what an earlier run left: %v\n%s", err, out)
			}
		}
		return errors.Is(err, fs.ErrNotExist)
	})
}

// machine is what a node could leave behind on it, by kind.
func machine(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	found["mounts"] = strings.Split(string(mounts), "\n")
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		found["interfaces"] = append(found["interfaces"], l.Name)
	}
	for _, p := range processes() {
		if ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", p.pid)); err == nil && !p.zombie {
			found["network namespaces"] = append(found["network namespaces"], ns)
		}
	}
	for kind, pattern := range map[string]string{"cgroups": cgroupRoot + "/*/" + cgroupName, "cgroup": cgroupRoot + "/" + cgroupName, "home": nodeHome} {
		found[kind], _ = filepath.Glob(pattern)
	}
	for _, dir := range covered {
		inside, _ := filepath.Glob(dir + "/*")
		if _, err := os.Stat(dir); err == nil {
			found["folders"] = append(found["folders"], append(inside, dir)...)
		}
	}
	for name := range tunables {
		value, _ := os.ReadFile("/proc/sys/" + name)
		found["settings"] = append(found["settings"], name+"="+string(value))
	}
	rules, _ := exec.Command("iptables", "-S").CombinedOutput()
	nat, _ := exec.Command("iptables", "-t", "nat", "-S").CombinedOutput()
	found["iptables"] = []string{string(rules), string(nat)}
	for kind := range found {
		slices.Sort(found[kind])
		found[kind] = slices.Compact(found[kind])
	}
	return found
}

func unchanged(t *testing.T, before map[string][]string) {
	t.Helper()
	after := machine(t)
	for _, kind := range slices.Sorted(maps.Keys(before)) {
		if !slices.Equal(before[kind], after[kind]) {
			t.Errorf("%s were %q, are %q", kind, before[kind], after[kind])
		}
	}
}

const pods = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: oom}
spec:
  selector: {matchLabels: {app: oom}}
  template:
    metadata: {labels: {app: oom}}
    spec:
      containers:
      - {name: c, image: "localhost/busybox:1", imagePullPolicy: Never, command: [sh, -c, "tail /dev/zero"], resources: {limits: {memory: 20Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: crash-once}
spec:
  volumes: [{name: d, emptyDir: {}}]
  containers:
  - {name: c, image: "localhost/busybox:1", imagePullPolicy: Never, volumeMounts: [{name: d, mountPath: /d}], command: [sh, -c, "test -f /d/x && sleep 10000; touch /d/x; exit 7"]}
---
apiVersion: v1
kind: Pod
metadata: {name: ready}
spec:
  securityContext: {runAsUser: 1000}
  containers:
  - name: c
    image: localhost/busybox:1
    imagePullPolicy: Never
    command: [sh, -c, "mkdir /tmp/www; echo hi > /tmp/www/index.html; httpd -f -p 8080 -h /tmp/www"]
    readinessProbe: {httpGet: {port: 8080, path: /index.html}, periodSeconds: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: unready}
spec:
  containers:
  - {name: c, image: "localhost/busybox:1", imagePullPolicy: Never, command: [sleep, "10000"], readinessProbe: {tcpSocket: {port: 81}, periodSeconds: 1}}
---
apiVersion: v1
kind: Pod
metadata: {name: unlively}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: c, image: "localhost/busybox:1", imagePullPolicy: Never, command: [sleep, "10000"], livenessProbe: {exec: {command: ["false"]}, periodSeconds: 1, failureThreshold: 2}}
---
apiVersion: v1
kind: Pod
metadata: {name: unschedulable}
spec:
  containers: [{name: c, image: "localhost/busybox:1", imagePullPolicy: Never, resources: {requests: {cpu: "640"}}}]
---
apiVersion: v1
kind: Pod
metadata: {name: never-pulled}
spec:
  containers: [{name: c, image: "localhost/none:1", imagePullPolicy: Never}]
---
apiVersion: v1
kind: Pod
metadata: {name: unpullable}
spec:
  containers: [{name: c, image: "localhost/none:1"}]
`

// seen is a script that ends when all these Pods have failed as they should.
const seen = `
until_seen() { what=$1; shift; for i in $(seq 600); do case "$("$@" 2>&1)" in *$what*) return;; esac; sleep 0.2; done; echo "$* never says $what:"; "$@"; exit 1; }
status() { kubectl get pods -l "$1" -o jsonpath='{.items[*].status.containerStatuses[*]}'; }
pod() { kubectl get pod "$1" -o jsonpath="{.status$2}"; }
warnings() { kubectl get events --field-selector "involvedObject.name=$1" -o jsonpath='{.items[*].message}'; }
kubectl apply -f pods.yaml
until_seen OOMKilled status app=oom
until_seen '"exitCode":7' pod crash-once '.containerStatuses[0].lastState'
until_seen true pod ready '.containerStatuses[0].ready'
until_seen 'connection refused' warnings unready
until_seen 'Liveness probe failed' warnings unlively
until_seen '"exitCode":137' pod unlively '.containerStatuses[0].lastState'
until_seen Unschedulable pod unschedulable '.conditions'
until_seen ErrImageNeverPull pod never-pulled '.containerStatuses[0].state'
until_seen Pull pod unpullable '.containerStatuses[0].state.waiting.reason'
until_seen hi kubectl exec unready -- wget -qO- "$(pod ready .podIP):8080"
touch started
`

func podsFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"pods.yaml": pods, "seen.sh": seen} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestPodsOfARealNodeFailAsTheyShouldAndLeaveNothing(t *testing.T) {
	needsNode(t)
	before := machine(t)
	cmd := program(t, t.TempDir(), "run", "--node", "--cwd", podsFolder(t), "--", "sh", "seen.sh")
	out := start(t, cmd)
	exitsWith(t, cmd, 0, out)
	unchanged(t, before)
}

func TestAKilledNodeTakesItsContainersAlongAndTheNextRunTheRest(t *testing.T) {
	needsNode(t)
	before := machine(t)
	temp, dir := t.TempDir(), podsFolder(t)
	cmd := program(t, temp, "run", "--node", "--cwd", dir, "--", "sh", "-c", "sh seen.sh; sleep 1000")
	start(t, cmd)
	await(t, "the Pods have failed", func() bool {
		_, err := os.Stat(filepath.Join(dir, "started"))
		return err == nil
	})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	await(t, "the kernel has ended the containers", func() bool {
		return slices.Equal(machine(t)["network namespaces"], before["network namespaces"])
	})
	if now := machine(t); !slices.Equal(now["mounts"], before["mounts"]) || !slices.Equal(now["settings"], before["settings"]) {
		t.Error("it changed the machine's mounts or settings")
	}
	out, err := program(t, temp, "run", "--", "true").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "what a killed run left in "+nodeHome) {
		t.Errorf("%v:\n%s", err, out)
	}
	unchanged(t, before)
}

func TestANodeWaitsForTheOther(t *testing.T) {
	needsNode(t)
	before := machine(t)
	temp := t.TempDir()
	first, firstOut := started(t, temp, "--node", "--", "sh", "-c", `trap "kubectl get --raw /readyz; exit 0" TERM; touch started; while :; do sleep 0.1; done`)
	second := program(t, temp, "run", "--node", "--", "true")
	secondOut := start(t, second)
	await(t, "the second waits", func() bool { return strings.Contains(secondOut.String(), "waiting for its end") })
	if err := first.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	exitsWith(t, first, 0, firstOut)
	exitsWith(t, second, 0, secondOut)
	unchanged(t, before)
}

func TestTheCommandEndsWithTheNode(t *testing.T) {
	needsNode(t)
	before := machine(t)
	cmd, out := started(t, t.TempDir(), "--node", "--", "sh", "-c", "touch started; exec sleep 1000")
	for _, p := range processes() {
		if name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.pid)); string(name) == "kubelet\n" && slices.Contains(environ(p.pid), marker+"="+nodeHome) {
			p.signal(syscall.SIGKILL)
		}
	}
	exitsWith(t, cmd, 128+int(syscall.SIGTERM), out)
	if !strings.Contains(out.String(), "kubelet ended") {
		t.Errorf("it does not say why:\n%s", out)
	}
	unchanged(t, before)
}
