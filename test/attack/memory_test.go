//go:build attack

package attack

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// memoryLimit is what the chart gives khook, in bytes.
const memoryLimit = 512 << 20

// bounds keep khook in its memory, by the best means that this machine has.
type bounds struct {
	means string // how, for the report
	join  string // the file into which a process writes its ID to be bound; "" if there is no cgroup
	env   []string
}

// newBounds makes a cgroup, of version 2 or 1. Where it can't, Go is told the limit, and the resident
// memory is held against it.
func newBounds(t *testing.T) *bounds {
	name := fmt.Sprintf("khook-attack-%d", os.Getpid())
	for _, version := range []struct{ name, root, limit, swap string }{
		{"2", "/sys/fs/cgroup", "memory.max", "memory.swap.max"},
		{"1", "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"},
	} {
		dir := filepath.Join(version.root, name)
		if os.Mkdir(dir, 0o755) != nil { //nolint:gosec // as the others there are
			continue
		}
		t.Cleanup(func() { _ = os.Remove(dir) })
		limit := []byte(strconv.Itoa(memoryLimit))
		if os.WriteFile(filepath.Join(dir, version.limit), limit, 0o600) != nil {
			_ = os.Remove(dir)
			continue // the controller is not there
		}
		if version.name == "2" {
			limit = []byte("0")
		}
		_ = os.WriteFile(filepath.Join(dir, version.swap), limit, 0o600) // there may be no swap to bound
		return &bounds{means: "a cgroup of version " + version.name, join: filepath.Join(dir, "cgroup.procs")}
	}
	return &bounds{means: "GOMEMLIMIT, and a look at its resident memory", env: []string{"GOMEMLIMIT=" + strconv.Itoa(memoryLimit*3/4)}}
}

// wrap returns the command line that begins a program within the bounds.
func (b *bounds) wrap(program string, args []string) (string, []string) {
	if b.join == "" {
		return program, args
	}
	return "/bin/sh", append([]string{"-c", `echo $$ >"$0" && exec "$@"`, b.join, program}, args...)
}

// forget lets the peak of a process begin anew, where the kernel can.
func (b *bounds) forget(pid int) {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0o600)
}

var highWater = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

var errNoMemory = errors.New("the process has no memory: it has ended")

// resident is the most memory that a process had, in bytes.
func resident(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	found := highWater.FindSubmatch(text)
	if found == nil || strings.Contains(string(text), "State:\tZ") {
		return 0, errNoMemory
	}
	kib, err := strconv.ParseInt(string(found[1]), 10, 64)
	return kib << 10, err
}
