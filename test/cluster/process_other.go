//go:build !linux

package main

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

func dieWithParent(ownGroup bool) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: ownGroup}
}

func adopt() error { return nil }

func endWithGoRun() {}

// processes are all of the machine, by PID.
func processes() map[int]process {
	out, err := exec.Command("ps", "-axo", "pid=,ppid=,stat=,lstart=").Output()
	if err != nil {
		return nil
	}
	all := map[int]process{}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) < 4 {
			continue
		}
		pid, _ := strconv.Atoi(fields[0])
		parent, _ := strconv.Atoi(fields[1])
		all[pid] = process{pid: pid, parent: parent, zombie: strings.HasPrefix(fields[2], "Z"), started: strings.Join(fields[3:], " ")}
	}
	return all
}

func startTime(pid int) string { return processes()[pid].started }

func environ(int) []string { return nil }
