package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// asCluster makes the test binary be the program, so that it can be killed.
const asCluster = "KHOOK_TEST_BE_CLUSTER"

func TestMain(m *testing.M) {
	if os.Getenv(asCluster) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// program prepares a run of this program with a folder of its own for what it makes.
func program(t *testing.T, args ...string) (cmd *exec.Cmd, made string) {
	t.Helper()
	made = t.TempDir()
	cmd = exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asCluster+"=1", "TMPDIR="+made)
	return cmd, made
}

func left(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestRunGivesTheCommandACluster(t *testing.T) {
	cmd, made := program(t, "run", "--", "sh", "-c", "kubectl auth whoami -o name && kubectl create namespace seen && exit 7")
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 7 {
		t.Fatalf("exit code %d, %v:\n%s", cmd.ProcessState.ExitCode(), err, out)
	}
	if !strings.Contains(string(out), "namespace/seen created") {
		t.Errorf("the command had no cluster:\n%s", out)
	}
	if dirs := left(t, made); len(dirs) > 0 {
		t.Errorf("left behind: %v", dirs)
	}
}

func TestAKilledRunTakesItsProcessesAlong(t *testing.T) {
	cmd, made := program(t, "run", "--", "sh", "-c", "touch ready; sleep 1000")
	dir := t.TempDir()
	cmd.Args = append(cmd.Args[:2], append([]string{"--cwd", dir}, cmd.Args[2:]...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, "the cluster is up", func() bool {
		_, err := os.Stat(filepath.Join(dir, "ready"))
		return err == nil
	})
	if len(mentioning(t, made)) < 2 {
		t.Error("etcd and the API server do not run, or are not found")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	await(t, "its processes have ended", func() bool {
		return len(mentioning(t, made)) == 0
	})
}

// mentioning are the processes whose command line names a folder.
func mentioning(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(lines) == 0 {
		t.Fatal("the processes of this machine can't be listed")
	}
	for _, path := range lines {
		if line, err := os.ReadFile(path); err == nil && strings.Contains(string(line), dir) {
			found = append(found, string(line))
		}
	}
	return found
}

func TestAClusterThatIsThereIsUsed(t *testing.T) {
	cmd, _ := program(t, "run", "--existing-ok", "--", "sh", "-c", `test "$KUBECONFIG" = mine`)
	cmd.Env = append(cmd.Env, "KUBECONFIG=mine")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestAssetsThatAreGivenWin(t *testing.T) {
	cmd, _ := program(t, "assets")
	cmd.Env = append(cmd.Env, "KUBEBUILDER_ASSETS=/given", "KHOOK_CACHE="+t.TempDir())
	out, err := cmd.Output()
	if err != nil || string(out) != "/given\n" {
		t.Errorf("%q %v", out, err)
	}
}

func TestWrongUsageSaysWhatIsRight(t *testing.T) {
	for _, args := range [][]string{nil, {"walk"}, {"run"}, {"run", "--nodes", "--", "true"}} {
		cmd, _ := program(t, args...)
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "COMMAND") {
			t.Errorf("%v: %v %s", args, err, out)
		}
	}
}

func TestAReusedPIDIsNobodyOfOurs(t *testing.T) {
	dir := t.TempDir()
	s := &state{path: filepath.Join(dir, "state.json")}
	if err := s.add(os.Getpid()); err != nil {
		t.Fatal(err)
	}
	if got := recorded(dir); len(got) != 1 {
		t.Errorf("this process is not found: %v", got)
	}
	s.Processes[os.Getpid()] = "1"
	if err := s.add(os.Getppid()); err != nil {
		t.Fatal(err)
	}
	if got := recorded(dir); len(got) != 1 || got[0] != os.Getppid() {
		t.Errorf("a process with another start time is taken for ours: %v", got)
	}
}

func await(t *testing.T, what string, check func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !check(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}
