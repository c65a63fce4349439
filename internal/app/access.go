package app

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"

	"github.com/kagent-dev/khook/internal/access"
)

// apiAccess asks the cluster who may read, unless that is turned off.
func (o *Options) apiAccess(cfg *rest.Config, registry prometheus.Registerer, callers int64) (access.Control, error) {
	asked := access.Config{Audiences: o.APIAudiences, Registry: registry, Callers: int(callers)}
	switch o.APIAuth {
	case "none":
		return nil, nil //nolint:nilnil // everybody may
	case "caller":
		return access.NewAsCaller(cfg, asked)
	default:
		return access.New(cfg, asked)
	}
}

// tokenAudience is the audience that tokens must have been made for, if those of the API server do not do.
func (o *Options) tokenAudience() string {
	if len(o.APIAudiences) == 0 {
		return ""
	}
	return o.APIAudiences[0]
}

// hosts are the names by which the HTTP API may be called while authentication is none: those of khook's
// Service, and those that the operator allows.
func (o *Options) hosts() []string {
	names := slices.Clone(o.AllowedHosts)
	if o.ServiceName == "" {
		return names
	}
	inNamespace := o.ServiceName + "." + o.leaseNamespace()
	names = append(names, o.ServiceName, inNamespace, inNamespace+".svc", inNamespace+".svc.cluster.local")
	// The cluster may have another domain. The kubelet tells it; a suffix that anybody may choose would
	// let khook.kagent.svc.evil.example pass.
	if text, err := os.ReadFile("/etc/resolv.conf"); err == nil {
		if domain := clusterDomain(string(text), o.leaseNamespace()); domain != "" {
			names = append(names, inNamespace+".svc."+domain)
		}
	}
	return names
}

// clusterDomain finds the domain of a cluster in the search list of a Pod's resolv.conf.
func clusterDomain(resolvConf, namespace string) string {
	for line := range strings.Lines(resolvConf) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "search" {
			continue
		}
		for _, domain := range fields[1:] {
			if suffix, ok := strings.CutPrefix(domain, namespace+".svc."); ok {
				return suffix
			}
		}
	}
	return ""
}

// trustedProxies reads the addresses of --trusted-proxies.
func (o *Options) trustedProxies() (proxies []netip.Prefix, err error) {
	var errs []error
	for _, text := range o.TrustedProxies {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			if address, single := netip.ParseAddr(text); single == nil {
				p, err = netip.PrefixFrom(address, address.BitLen()), nil
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("--trusted-proxies has %q: write networks as 10.0.0.0/8, or addresses", text))
			continue
		}
		proxies = append(proxies, p.Masked())
	}
	return proxies, errors.Join(errs...)
}

// checkCallers checks the settings about who calls.
func (o *Options) checkCallers() []error {
	var errs []error
	if _, err := o.trustedProxies(); err != nil {
		errs = append(errs, err)
	}
	for _, host := range o.AllowedHosts {
		bare := strings.ToLower(strings.TrimSuffix(host, "."))
		if net.ParseIP(host) == nil && len(validation.IsDNS1123Subdomain(bare)) > 0 {
			errs = append(errs, fmt.Errorf("--allowed-hosts has %q: write names such as khook.example.com, without a port", host))
		}
	}
	if len(o.APIAudiences) > 0 && o.APIAuth == "caller" {
		errs = append(errs, errors.New("--api-audiences can't be used with --api-auth=caller: there khook asks the API server with the caller's own token, so it must have been made for the API server"))
	}
	if len(o.APIAudiences) > 0 && o.APIAuth == "none" {
		errs = append(errs, errors.New("--api-audiences is of no use with --api-auth=none, which looks at no token"))
	}
	if slices.Contains(o.APIAudiences, "") {
		errs = append(errs, errors.New("--api-audiences has an empty audience"))
	}
	return errs
}
