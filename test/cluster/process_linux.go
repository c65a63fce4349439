package main

import "syscall"

// dieWithParent makes a child end when this process does, and keeps a terminal's Ctrl-C from it.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
