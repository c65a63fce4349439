package postgres

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// endUnheard lets the kernel end a connection whose other end acknowledges nothing: else a commit would wait for a server that is gone
// for a quarter of an hour.
func endUnheard(network, _ string, raw syscall.RawConn) error {
	if network == "unix" {
		return nil
	}
	var set error
	err := raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unheardTimeout.Milliseconds()))
	})
	if err != nil {
		return err
	}
	return set
}
