package api

import (
	"fmt"
	"testing"

	"github.com/kagent-dev/khook/internal/delivery"
)

func TestAStoryTellsWhichToolsTheAgentCalls(t *testing.T) {
	var got []string
	for _, e := range []delivery.Entry{
		{Kind: delivery.EntryToolCall, Name: "k8s_get_resources", Text: `{"kind":"Pod"}`},
		{Kind: delivery.EntryToolAnswer, Name: "k8s_get_resources", Text: `{"result":"none"}`},
		{Kind: delivery.EntryToolCall}, {Kind: delivery.EntryToolAnswer}, // for those who may not read its texts
	} {
		got = append(got, moment(&e))
	}
	want := []string{`the agent calls k8s_get_resources {"kind":"Pod"}`, `k8s_get_resources answers: {"result":"none"}`, "the agent calls a tool", "a tool answers"}
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
