package main

import (
	"errors"
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

// program prepares a run of this program with a folder for temporary files of its own.
func program(t *testing.T, temp string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asCluster+"=1", "TMPDIR="+temp, marker+"=")
	return cmd
}

// output is a file, since a pipe would only end with the last of those who write to it.
type output string

func (o output) String() string {
	text, err := os.ReadFile(string(o))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func start(t *testing.T, cmd *exec.Cmd) output {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return output(f.Name())
}

// started is a run whose command has said, by a file, that it is under way.
func started(t *testing.T, temp string, args ...string) (cmd *exec.Cmd, out output) {
	t.Helper()
	cwd := t.TempDir()
	cmd = program(t, temp, append([]string{"run", "--cwd", cwd}, args...)...)
	out = start(t, cmd)
	await(t, "the command has started", func() bool {
		_, err := os.Stat(filepath.Join(cwd, "started"))
		return err == nil
	})
	return cmd, out
}

func await(t *testing.T, what string, check func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !check(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func exitsWith(t *testing.T, cmd *exec.Cmd, want int, out output) {
	t.Helper()
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != want {
		t.Errorf("exit code %d, want %d:\n%s", got, want, out)
	}
}

// nothingIsLeft of the clusters that had temp for their folders: no file, and no process.
func nothingIsLeft(t *testing.T, temp string) {
	t.Helper()
	if files, _ := filepath.Glob(filepath.Join(temp, "*")); len(files) > 0 {
		t.Errorf("left behind: %v", files)
	}
	if left := processesOf(temp); len(left) > 0 {
		t.Errorf("still running: %s", describe(left))
	}
}

func processesOf(temp string) (found []process) {
	for _, p := range processes() {
		for _, v := range environ(p.pid) {
			if strings.HasPrefix(v, marker+"="+temp) && !p.zombie {
				found = append(found, p)
			}
		}
	}
	return found
}

func TestTheCommandHasAClusterAndGivesItsExitCode(t *testing.T) {
	temp := t.TempDir()
	out, err := program(t, temp, "run", "--", "sh", "-c",
		`kubectl create namespace seen && kubectl create serviceaccount x && test -n "$(kubectl create token x)" && test -x "$KUBEBUILDER_ASSETS/etcd" && exit 7`).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("%v, want exit code 7:\n%s", err, out)
	}
	nothingIsLeft(t, temp)
}

func TestACommandIsFoundAmongTheClustersPrograms(t *testing.T) {
	cmd := program(t, t.TempDir(), "run", "--", "kubectl", "get", "--raw", "/readyz")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.HasSuffix(string(out), "ok") {
		t.Errorf("%v:\n%s", err, out)
	}
}

func TestKeepLeavesDataAndLogsInTheFolder(t *testing.T) {
	cwd := t.TempDir()
	out, err := program(t, t.TempDir(), "run", "--cwd", cwd, "--dir", "here", "--keep", "--", "true").CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(cwd, "here", "kube-apiserver.log")); err != nil {
		t.Error(err)
	}
	if left := processesOf(cwd); len(left) > 0 {
		t.Errorf("still running: %s", describe(left))
	}
	out, err = program(t, t.TempDir(), "run", "--cwd", cwd, "--dir", "here", "--", "true").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "is not empty") {
		t.Errorf("a folder with something in it was taken: %v\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(cwd, "here", "kube-apiserver.log")); err != nil {
		t.Errorf("what was in the folder is gone: %v", err)
	}
}

func TestAClusterThatIsThereIsUsed(t *testing.T) {
	cmd := program(t, t.TempDir(), "run", "--existing-ok", "--", "sh", "-c", `test "$KUBECONFIG" = mine && exit 3`)
	cmd.Env = append(cmd.Env, "KUBECONFIG=mine")
	out, _ := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != 3 {
		t.Errorf("exit code %d, want 3:\n%s", got, out)
	}
}

func TestWrongUsageSaysWhatIsRight(t *testing.T) {
	for _, args := range [][]string{nil, {"walk"}, {"run"}, {"run", "--nodes", "--", "true"}} {
		out, err := program(t, t.TempDir(), args...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "COMMAND") {
			t.Errorf("%v: %v %s", args, err, out)
		}
	}
}
