package chart

import (
	"fmt"
	"os/exec"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"
)

// policy is the NetworkPolicy that the chart makes of some values.
func policy(t *testing.T, args ...string) networkingv1.NetworkPolicySpec {
	t.Helper()
	return decodeInto[networkingv1.NetworkPolicy](t, named(t, objects(t, render(t, args...)), "NetworkPolicy", "khook")).Spec
}

// peers says from where, or to where, each port is open: "everywhere", or the peers.
func peers(ports []networkingv1.NetworkPolicyPort, of []networkingv1.NetworkPolicyPeer, into map[string]string) {
	for _, p := range ports {
		into[p.Port.String()] = "everywhere"
		if len(of) > 0 {
			into[p.Port.String()] = fmt.Sprint(of[0].PodSelector.MatchLabels)
		}
	}
}

func TestByDefaultEveryPortIsReachedAsWithoutAPolicy(t *testing.T) {
	for name, args := range map[string][]string{"defaults": nil, "everything": everything, "no API": {"--set", "api.enabled=false"}, "no metrics": {"--set", "metrics.enabled=false"}} {
		all := objects(t, render(t, args...))
		spec := decodeInto[networkingv1.NetworkPolicy](t, named(t, all, "NetworkPolicy", "khook")).Spec
		want, got := map[string]string{}, map[string]string{}
		for _, p := range decodeInto[appsv1.Deployment](t, named(t, all, "Deployment", "khook")).Spec.Template.Spec.Containers[0].Ports {
			want[p.Name] = "everywhere"
		}
		for _, rule := range spec.Ingress {
			peers(rule.Ports, rule.From, got)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-ports of the Pod +admitted)\n%s", name, diff)
		}
	}
}

func TestWhoMayReachThePortsCanBeNamedAndProbesGoThroughAllTheSame(t *testing.T) {
	for _, c := range []struct {
		set  []string
		want map[string]string
	}{
		{[]string{`networkPolicy.from=[{"podSelector":{"matchLabels":{"may":"ask"}}}]`},
			map[string]string{"health": "everywhere", "metrics": "map[may:ask]", "api": "map[may:ask]"}},
		{[]string{`networkPolicy.from=[{"podSelector":{"matchLabels":{"may":"ask"}}}]`, `networkPolicy.metricsFrom=[{"podSelector":{"matchLabels":{"may":"scrape"}}}]`},
			map[string]string{"health": "everywhere", "metrics": "map[may:scrape]", "api": "map[may:ask]"}},
		{[]string{`networkPolicy.metricsFrom=[{"podSelector":{"matchLabels":{"may":"scrape"}}}]`},
			map[string]string{"health": "everywhere", "metrics": "map[may:scrape]", "api": "everywhere"}},
	} {
		var args []string
		for _, s := range c.set {
			args = append(args, "--set-json", s)
		}
		got := map[string]string{}
		for _, rule := range policy(t, args...).Ingress {
			peers(rule.Ports, rule.From, got)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%v (-want +got)\n%s", c.set, diff)
		}
	}
}

func TestTrafficOutIsFreeUntilAValueRestrictsIt(t *testing.T) {
	if spec := policy(t); len(spec.PolicyTypes) != 1 || spec.PolicyTypes[0] != networkingv1.PolicyTypeIngress || spec.Egress != nil {
		t.Errorf("%+v", spec)
	}
	// As values files have it that were written when one value turned on both.
	for _, set := range []string{`networkPolicy.restrictEgress=true`, `networkPolicy.kagent=[{"podSelector":{"matchLabels":{"app":"kagent"}}}]`, `networkPolicy.egress=[{"ports":[{"port":4318}]}]`} {
		spec := policy(t, "--set-json", set)
		if len(spec.PolicyTypes) != 2 || len(spec.Egress) < 3 {
			t.Errorf("%s: %+v", set, spec)
		}
	}
}

// connections are those that khook makes beside DNS: the flag of khook controller with the URL, the value of the chart
// that sets it, and the rule that lets khook out. A flag that is added gets its line here and its entry in
// templates/_network.tpl.
var connections = map[string]struct{ set, rule string }{
	"kagent-url": {"kagent.apiUrl=https://elsewhere.example.com:8443", "kagent"},
}

func TestEachConnectionOfKhookHasItsRule(t *testing.T) {
	help, err := exec.CommandContext(t.Context(), khook(t), "controller", "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	flags := regexp.MustCompile(`--([a-z-]+)=URL\b`).FindAllStringSubmatch(string(help), -1)
	if len(flags) == 0 {
		t.Fatal("the help names no flag with a URL: this test sees nothing")
	}
	for _, flag := range flags {
		c, ok := connections[flag[1]]
		if !ok {
			t.Errorf("--%s is a connection without a rule", flag[1])
			continue
		}
		got := map[string]string{}
		for _, rule := range policy(t, "--set", "networkPolicy.restrictEgress=true", "--set", c.set).Egress {
			peers(rule.Ports, rule.To, got)
		}
		want := map[string]string{"53": "everywhere", "443": "everywhere", "6443": "everywhere", "8443": "everywhere"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("--%s, rule %s (-want +got)\n%s", flag[1], c.rule, diff)
		}
	}
}

func TestThePortOfKagentIsThatOfItsURL(t *testing.T) {
	for url, want := range map[string]string{"http://kagent": "80", "https://kagent.example.com": "443", "https://[fd00::1]:9443/x": "9443", "http://kagent.kagent.svc:8083": "8083"} {
		var seen bool
		for _, rule := range policy(t, "--set", "networkPolicy.restrictEgress=true,networkPolicy.apiServerPorts={16443}", "--set-string", "kagent.apiUrl="+url).Egress {
			for _, p := range rule.Ports {
				seen = seen || p.Port.String() == want
			}
		}
		if !seen {
			text, _ := yaml.Marshal(policy(t, "--set", "networkPolicy.restrictEgress=true", "--set-string", "kagent.apiUrl="+url))
			t.Errorf("%s: no port %s in\n%s", url, want, text)
		}
	}
}
