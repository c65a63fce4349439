package main

import (
	"os"
	"syscall"
	"unsafe"
)

// inForeground says whether standard input is a terminal in whose foreground this process is.
func inForeground() bool {
	var group int32
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, os.Stdin.Fd(), syscall.TIOCGPGRP, uintptr(unsafe.Pointer(&group)))
	return errno == 0 && int(group) == syscall.Getpgrp()
}
