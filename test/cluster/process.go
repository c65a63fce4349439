package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// process is a line of the system's list of processes.
type process struct {
	pid, parent int
	started     string // in the system's words; a PID alone may be another's by now
	zombie      bool
}

// marker is an environment variable that every process of a cluster has, COMMAND and what it
// starts included. Its value is the cluster's folder.
const marker = "KHOOK_TEST_CLUSTER"

// belonging are the processes that still run of those that a cluster started: recorded ones,
// those with its marker, and (adopted) the descendants of this process. Neither this process nor
// those that it was started by are among them.
func belonging(dir string, recorded []entry, adopted bool) []process {
	all := processes()
	spared := map[int]bool{0: true, 1: true}
	for pid := os.Getpid(); pid > 1 && !spared[pid]; pid = all[pid].parent {
		spared[pid] = true
	}
	var found []process
	for _, p := range all {
		if p.zombie || spared[p.pid] {
			continue
		}
		isRecorded := slices.ContainsFunc(recorded, func(e entry) bool { return e.PID == p.pid && e.Started == p.started && p.started != "" })
		if isRecorded || adopted && descends(all, p.pid, os.Getpid()) || slices.Contains(environ(p.pid), marker+"="+dir) {
			found = append(found, p)
		}
	}
	return found
}

func descends(all map[int]process, pid, from int) bool {
	for seen := 0; pid > 1 && seen < len(all); seen++ {
		if pid = all[pid].parent; pid == from {
			return true
		}
	}
	return false
}

// endProcesses asks all that find finds to end, and kills what has not ended after grace. It
// fails if some are left even then.
func endProcesses(find func() []process, grace time.Duration) error {
	started := time.Now()
	asked := map[process]bool{}
	for {
		left := find()
		if len(left) == 0 {
			return nil
		}
		for _, p := range left {
			switch {
			case time.Since(started) > grace:
				p.signal(syscall.SIGKILL)
			case !asked[p]:
				p.signal(syscall.SIGTERM)
				asked[p] = true
			}
		}
		if time.Since(started) > grace+20*time.Second {
			return fmt.Errorf("%s: they do not end", describe(left))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// signal tells the process, and nobody who got its PID since.
func (p process) signal(sig syscall.Signal) {
	found, err := os.FindProcess(p.pid) // on Linux this holds the process, not its number
	if err != nil {
		return
	}
	defer func() { _ = found.Release() }()
	if startTime(p.pid) == p.started {
		_ = found.Signal(sig)
	}
}

func describe(all []process) string {
	var pids []string
	for _, p := range all {
		pids = append(pids, fmt.Sprint(p.pid))
	}
	return "processes " + strings.Join(pids, ", ")
}
