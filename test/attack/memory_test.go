//go:build attack

package attack

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// memoryLimit is what the chart gives khook, in bytes.
const memoryLimit = 512 << 20

// bounds keep khook in its memory, by the best means that this machine has.
type bounds struct {
	means  string // how, for the report
	script string // begins the program that its arguments name within the bounds
	env    []string
	kill   bool // nothing but this package keeps the program from having more
}

// hierarchies are where cgroups are made. On a machine with both versions the controller of memory is in
// version 1 alone.
var hierarchies = []struct{ means, root, proof, limit, swap, noSwap string }{
	{"a cgroup of version 2", "/sys/fs/cgroup", "cgroup.controllers", "memory.max", "memory.swap.max", "0"},
	{"a cgroup of version 1", "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", strconv.Itoa(memoryLimit)},
}

// newBounds makes a cgroup. Where it can't, Go is told the limit, and what takes more is killed.
func newBounds(t *testing.T) *bounds {
	for _, h := range hierarchies {
		dir := filepath.Join(h.root, fmt.Sprintf("khook-attack-%d", os.Getpid()))
		if _, err := os.Stat(filepath.Join(h.root, h.proof)); err != nil || os.Mkdir(dir, 0o755) != nil {
			continue
		}
		t.Cleanup(func() { _ = os.Remove(dir) })
		if set(filepath.Join(dir, h.limit), strconv.Itoa(memoryLimit)) != nil {
			continue // it has no controller of memory
		}
		_ = set(filepath.Join(dir, h.swap), h.noSwap) // where swap is accounted for
		return &bounds{means: h.means, script: "echo $$ >" + filepath.Join(dir, "cgroup.procs") + ` && exec "$0" "$@"`}
	}
	return &bounds{
		means: "GOMEMLIMIT, and killed above that", env: []string{"GOMEMLIMIT=" + strconv.Itoa(memoryLimit*3/4)}, kill: true,
		script: `ulimit -v 4194304; exec "$0" "$@"`, // KiB: so that it can't harm the machine before it is killed
	}
}

// set writes a file that is there already, as all of a cgroup are.
func set(file, value string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(value)
	return err
}

// command begins a program within the bounds.
func (b *bounds) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command("/bin/sh", append([]string{"-c", b.script, program}, args...)...)
	cmd.Env = append(os.Environ(), b.env...)
	return cmd
}

// forget lets the peak of a process begin anew, where the kernel can.
func (b *bounds) forget(pid int) {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0o600)
}

var errNoMemory = errors.New("the process has no memory: it has ended")

// resident is the most memory that a process had, with what it maps of its program, and what of it is
// its own now; in bytes.
func resident(pid int) (most, own int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	kib := map[string]int64{}
	for line := range strings.Lines(string(text)) {
		var n int64
		if name, value, ok := strings.Cut(line, ":"); ok {
			if _, err := fmt.Sscanf(value, "%d kB", &n); err == nil {
				kib[name] = n
			}
		}
	}
	if kib["VmHWM"] == 0 {
		return 0, 0, errNoMemory
	}
	return kib["VmHWM"] << 10, kib["RssAnon"] << 10, nil
}
