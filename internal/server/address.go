package server

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// addresses tells from where requests come.
type addresses struct{ trusted []netip.Prefix } // of proxies whose word is taken

// of returns the address of a request's client as it is shown, and the key by which it is limited; the
// latter is empty if the address stands for nobody in particular: that of this machine (a port-forward, a
// sidecar), or of a trusted proxy that does not say for whom it asks.
func (a addresses) of(r *http.Request) (shown, limitBy string) {
	from, ok := parseAddress(r.RemoteAddr)
	if !ok {
		return r.RemoteAddr, r.RemoteAddr
	}
	if a.trusts(from) {
		if client, ok := a.behind(r); ok {
			return client.String(), keyOf(client)
		}
		return from.String(), ""
	}
	if from.IsLoopback() {
		return from.String(), ""
	}
	return from.String(), keyOf(from)
}

func (a addresses) trusts(from netip.Addr) bool {
	return slices.ContainsFunc(a.trusted, func(p netip.Prefix) bool { return p.Contains(from) })
}

// maxHops bounds how many proxies are looked at.
const maxHops = 16

// behind is the last address before the trusted proxies. Each proxy adds at the right from whom it got
// the request, so what is left of the first address that is not trusted was written by a stranger.
func (a addresses) behind(r *http.Request) (netip.Addr, bool) {
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	if len(r.Header.Values("X-Forwarded-For")) == 0 {
		hops = forwardedPairs(strings.Join(r.Header.Values("Forwarded"), ","), "for")
	}
	for i := len(hops) - 1; i >= max(0, len(hops)-maxHops); i-- {
		hop, ok := parseAddress(strings.TrimSpace(hops[i]))
		if !ok {
			return netip.Addr{}, false
		}
		if !a.trusts(hop) {
			return hop, true
		}
	}
	return netip.Addr{}, false
}

// forwardedPairs lists what the elements of a Forwarded header (RFC 7239) have of a name, such as for; empty for one that
// has none.
func forwardedPairs(header, wanted string) (values []string) {
	for element := range strings.SplitSeq(header, ",") {
		found := ""
		for pair := range strings.SplitSeq(element, ";") {
			if name, value, ok := strings.Cut(strings.TrimSpace(pair), "="); ok && strings.EqualFold(name, wanted) {
				found = strings.Trim(value, `"`)
			}
		}
		values = append(values, found)
	}
	return values
}

// parseAddress reads an address, with a port or without.
func parseAddress(text string) (netip.Addr, bool) {
	if withPort, err := netip.ParseAddrPort(text); err == nil {
		return withPort.Addr().Unmap().WithZone(""), true
	}
	address, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	return address.Unmap().WithZone(""), err == nil
}

// keyOf is what an address is limited by: whoever has one of IPv6 has 2^64 of them.
func keyOf(address netip.Addr) string {
	if address.Is4() {
		return address.String()
	}
	network, err := address.Prefix(64)
	if err != nil {
		return address.String()
	}
	return network.String()
}
