package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestTheCommandGetsTheSignalAndItsExitCodeCounts(t *testing.T) {
	temp := t.TempDir()
	cmd, out := started(t, temp, "--", "sh", "-c", `trap "exit 9" TERM; touch started; while :; do sleep 0.1; done`)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	exitsWith(t, cmd, 9, out)
	nothingIsLeft(t, temp)
}

func TestASignalDuringTheStartEndsEverything(t *testing.T) {
	for _, c := range []struct {
		sig  syscall.Signal
		args []string
		code int
	}{
		{syscall.SIGINT, nil, 128 + int(syscall.SIGINT)},
		{syscall.SIGINT, []string{"--interrupt-ok"}, 0},
		{syscall.SIGTERM, []string{"--interrupt-ok"}, 128 + int(syscall.SIGTERM)},
	} {
		temp := t.TempDir()
		cmd := program(t, temp, append(append([]string{"run"}, c.args...), "--", "true")...)
		out := start(t, cmd)
		await(t, "etcd starts", func() bool { return len(processesOf(temp)) > 0 })
		if err := cmd.Process.Signal(c.sig); err != nil {
			t.Fatal(err)
		}
		exitsWith(t, cmd, c.code, out)
		nothingIsLeft(t, temp)
	}
}

func TestWhatTheCommandLeavesRunningIsEnded(t *testing.T) {
	temp := t.TempDir()
	pids := filepath.Join(t.TempDir(), "pids")
	cmd := program(t, temp, "run", "--", "sh", "-c",
		`setsid sleep 1000 & echo $! > `+pids+`; env -i setsid sleep 1000 & echo $! >> `+pids)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	text, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range strings.Fields(string(text)) {
		if line, err := os.ReadFile("/proc/" + pid + "/cmdline"); err == nil && strings.HasPrefix(string(line), "sleep") {
			t.Errorf("process %s still runs", pid)
		}
	}
	nothingIsLeft(t, temp)
}

func TestTheCommandEndsWithThePartThatItNeeds(t *testing.T) {
	temp := t.TempDir()
	cmd, out := started(t, temp, "--", "sh", "-c", "touch started; exec sleep 1000")
	for _, p := range processesOf(temp) {
		if line, _ := os.ReadFile(filepath.Join("/proc", strings.TrimPrefix(describe([]process{p}), "processes "), "comm")); strings.HasPrefix(string(line), "kube-apiserver") {
			p.signal(syscall.SIGKILL)
		}
	}
	exitsWith(t, cmd, 128+int(syscall.SIGTERM), out)
	if !strings.Contains(out.String(), "kube-apiserver ended (signal: killed)") {
		t.Errorf("it does not say why:\n%s", out)
	}
	nothingIsLeft(t, temp)
}

func TestTheNextRunRemovesWhatAKilledOneLeft(t *testing.T) {
	temp := t.TempDir()
	cmd, _ := started(t, temp, "--", "sh", "-c", "sleep 1000 & touch started; wait")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if files, _ := filepath.Glob(filepath.Join(temp, "*")); len(files) != 1 || len(processesOf(temp)) == 0 {
		t.Fatalf("the test is none: %v", files)
	}
	out, err := program(t, temp, "run", "--", "true").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "what a killed run left") {
		t.Errorf("%v:\n%s", err, out)
	}
	nothingIsLeft(t, temp)
}

func TestARunLeavesAnotherAlone(t *testing.T) {
	temp := t.TempDir()
	cmd, out := started(t, temp, "--", "sh", "-c", `trap "kubectl get --raw /readyz; exit 0" TERM; touch started; while :; do sleep 0.1; done`)
	if out, err := program(t, temp, "run", "--", "true").CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	exitsWith(t, cmd, 0, out)
	if !strings.Contains(out.String(), "ok") {
		t.Errorf("its cluster is gone:\n%s", out)
	}
	nothingIsLeft(t, temp)
}
