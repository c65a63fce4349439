package incident

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestWhatNamesThingsIsFitAndStaysDistinct(t *testing.T) {
	for _, text := range []string{"", "web-1", "pod-restart/6ab22e5b/app/1", "name with spaces", "Ünïcode", strings.Repeat("x", 64)} {
		if got := Fit(text, 64); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		texts := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 200), func(b []byte) string { return string(b) }))
		a, b := texts.Draw(t, "a"), texts.Draw(t, "b")
		x, y := Fit(a, 64), Fit(b, 64)
		switch {
		case len(x) > 64 || !utf8.ValidString(x) || strings.ContainsAny(x, "\x00\n\x1b"):
			t.Fatalf("%q became %q", a, x)
		case x != Fit(a, 64) || x != Fit(x, 64):
			t.Fatalf("%q is not the same each time", a)
		case (a == b) != (x == y):
			t.Fatalf("%q and %q became %q and %q", a, b, x, y)
		}
	})
}

func TestASignalThatFitsStaysAsItIs(t *testing.T) {
	labels := map[string]string{"app": "cart"}
	s := Signal{
		Key: "k", Kind: Observed, Type: PodRestart, Observation: Observation{
			Resource: Resource{Kind: "Pod", Namespace: "shop", Name: "cart-1", UID: "u"}, Container: "app",
			Workload: Workload{Kind: "Deployment", Name: "cart"}, Node: "n1",
			Attributes: Attributes{Pod: &PodAttributes{Labels: labels}},
			Reason:     "Error", Message: "a sentence",
		},
	}
	got := s.Fitted()
	labels["app"] = "changed" // the same map: it was not copied
	if got.Key != s.Key || got.Resource != s.Resource || got.Workload != s.Workload || got.Message != s.Message || got.Attributes.Pod.Labels["app"] != "changed" {
		t.Errorf("%+v", got)
	}
	bad := map[string]string{"bad\x00": "value\xff", "app": "cart"}
	s.Attributes.Pod = &PodAttributes{Labels: bad}
	if fitted := s.Fitted().Attributes.Pod.Labels; len(fitted) != 2 || fitted["app"] != "cart" || fitted["bad\x00"] != "" || bad["bad\x00"] == "" {
		t.Errorf("%q of %q", fitted, bad)
	}
}
