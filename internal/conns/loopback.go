package conns

import "net"

// IsLoopback says whether a host, a name or an IP address, is this machine by its form: a name is not looked up.
func IsLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
