package cli

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
)

func TestCLIFollowsTheLogOfACallToItsEnd(t *testing.T) {
	at := time.Date(2026, 1, 15, 10, 0, 0, 0, time.Local)
	entries := []api.LogEntry{
		{At: at, Kind: delivery.EntryCall, Text: "sent to kagent/medic"},
		{At: at.Add(time.Second), Kind: delivery.EntryMessage, By: "agent", Text: "I look\tat\n  the Pods\x1b[2J.\n"},
		{At: at.Add(2 * time.Second), Kind: delivery.EntryState, By: "agent", State: "completed"},
	}
	asked := 0
	url := answers(t, func(*http.Request) any {
		d := api.DeliveryDetail{Delivery: api.Delivery{ID: anID, State: delivery.Working}, Log: entries[:min(asked, len(entries))]}
		if asked++; asked > len(entries) {
			d.State, d.EndedAt = delivery.Succeeded, at.Add(3*time.Second)
		}
		return d
	})
	want := []string{
		"2026-01-15 10:00:00 UTC  khook call: sent to kagent/medic",
		"2026-01-15 10:00:01 UTC  agent message: I look    at",
		"                           the Pods[2J.",
		"2026-01-15 10:00:02 UTC  agent state completed", "",
	}
	_, out, errs := khook(t, "deliveries", "logs", "-f", anID, "--interval", "100ms", "--server", url)
	if diff := cmp.Diff(want, strings.Split(out, "\n")); diff != "" || errs != "" {
		t.Errorf("%s %s", diff, errs)
	}
	if _, out, _ := khook(t, "deliveries", "logs", anID, "-o", "jsonpath={[*].kind}", "--server", url); out != "call message state\n" {
		t.Errorf("%q", out)
	}
	if code, _, errs := khook(t, "deliveries", "logs", "-f", anID, "-o", "yaml", "--server", url); code != 2 || !strings.Contains(errs, "--follow prints lines") {
		t.Errorf("%d %s", code, errs)
	}
}

func TestCLIHelpsByAWordToo(t *testing.T) {
	for _, command := range []string{"", "deliveries", "deliveries show"} {
		code, flag, _ := khook(t, append(strings.Fields(command), "--help")...)
		if again, word, errs := khook(t, append([]string{"help"}, strings.Fields(command)...)...); again != code || word != flag || errs != "" || flag == "" {
			t.Errorf("khook help %s: %d %q %q", command, again, word, errs)
		}
	}
	if code, _, errs := khook(t, "incidents", anID, "--watch", "--server", "http://127.0.0.1:1"); code != 2 || !strings.Contains(errs, "--watch is for lists") {
		t.Errorf("%d %s", code, errs)
	}
}
