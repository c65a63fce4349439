package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// state is what is known of the processes of a cluster, for a run that comes after a crash.
type state struct {
	path      string // "" for a cluster that keeps none
	unlock    func()
	Processes map[int]string `json:"processes"` // start time by PID: a PID alone may be another's by now
}

func (s *state) add(pid int) error {
	if s.path == "" {
		return nil
	}
	if s.Processes == nil {
		s.Processes = map[int]string{}
	}
	s.Processes[pid] = startTime(pid)
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(s.path, text, 0o600)
}

// startTime is when a process started, in the kernel's words; "" if there is none.
func startTime(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, rest, ok := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 {
		return ""
	}
	return fields[19]
}

// cgroupName is the cgroup below which all Pods of the node run.
const cgroupName = "khook-test-node"

// cleanUp ends and removes whatever a cluster in dir made: processes, mounts (network namespaces
// are mounts too), cgroups, the bridge, and the folder.
func cleanUp(dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		left := append(recorded(dir), append(inCgroups(), shims(dir)...)...)
		if len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v do not end", left)
		}
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(100 * time.Millisecond)
	}
	return errors.Join(unmount(dir), removeCgroups(), removeBridge(), os.RemoveAll(dir))
}

// recorded are the processes of the state file that still run.
func recorded(dir string) []int {
	var s state
	text, err := os.ReadFile(filepath.Join(dir, "state.json"))
	if err != nil || json.Unmarshal(text, &s) != nil {
		return nil
	}
	var left []int
	for pid, started := range s.Processes {
		if started != "" && startTime(pid) == started && !zombie(pid) {
			left = append(left, pid)
		}
	}
	return left
}

func zombie(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(text), ") ")
	return err == nil && strings.HasPrefix(rest, "Z")
}

// shims are containerd's helpers of this cluster: their command line names its folder.
func shims(dir string) []int {
	var found []int
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && strings.Contains(string(line), "containerd-shim") && strings.Contains(string(line), dir+"/") {
			found = append(found, pid)
		}
	}
	return found
}

// cgroups are the node's cgroups, the deepest first: one tree for each controller under version
// 1, one in all under version 2.
func cgroups() []string {
	roots, _ := filepath.Glob("/sys/fs/cgroup/*/" + cgroupName)
	roots = append(roots, "/sys/fs/cgroup/"+cgroupName)
	var all []string
	for _, root := range roots {
		_ = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.IsDir() {
				all = append(all, path)
			}
			return nil
		})
	}
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	return all
}

func inCgroups() []int {
	var pids []int
	for _, dir := range cgroups() {
		text, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		for _, line := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(line); err == nil && pid > 1 && !zombie(pid) {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

func removeCgroups() error {
	var errs []error
	for _, dir := range cgroups() {
		if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// unmount undoes all mounts below dir, the last made first.
func unmount(dir string) error {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	defer f.Close()
	var points []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			points = append(points, strings.ReplaceAll(fields[4], `\040`, " "))
		}
	}
	var errs []error
	for _, p := range slices.Backward(points) {
		if err := unmountPoint(p); err != nil {
			errs = append(errs, fmt.Errorf("unmount %s: %w", p, err))
		}
	}
	return errors.Join(errs...)
}
