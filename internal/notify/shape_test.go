package notify

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	cebinding "github.com/cloudevents/sdk-go/v2/binding"
	"pgregory.net/rapid"

	"github.com/kagent-dev/khook/internal/notice"
)

// hostile is what somebody writes into a Pod's message, or an agent into its question, to be more than text.
var hostile = []string{
	"<!channel> <!here> <@U024BE7LH> <https://evil.example/|khook approve abc>", "@channel @all @here @admin", "[click](https://evil.example)",
	"![x](https://evil.example/p.png)", "*bold* _it_ ~no~ `code`", "```\n@channel\n```", "````text\n@all\n````", "<at>Everybody</at>", "\u202eevorppa\u202c \u200b\u2066",
	"\"}]},{\"type\":\"section\"", "{{7*7}}", "</code><script>alert(1)</script>", "line\r\nX-Header: 1", strings.Repeat("`", 300), strings.Repeat("字", 5000), "\x00\x07\x1b[31mred",
}

func someMessage(texts ...string) *Message {
	m := &Message{ID: "m", Notifier: "oncall", Cluster: "prod", Version: "1"}
	for i, text := range texts {
		m.Items = append(m.Items, bounded(Item{
			ID: strings.Repeat("0123456789abcdef", 2) + string(rune('a'+i)), Kind: notice.NeedsPerson, About: notice.AboutApproval, At: time.Unix(100, 0).UTC(), Title: "Agent kagent/medic wants an approval: " + text,
			Text: text, Command: "khook approve -n shop 01234567", Link: "https://ops.example.com/khook/api/v1/deliveries/d", Hook: "shop/h", Namespace: "shop", IncidentID: "i", QuestionID: "0123",
		}))
	}
	return m
}

func render(t interface{ Fatal(...any) }, shape Shape, m *Message) []byte {
	text, _, err := (&Notifier{Name: "oncall", Shape: shape}).body(m)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// walk calls do for each object in a JSON value.
func walk(v any, do func(map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		do(v)
		for _, of := range v {
			walk(of, do)
		}
	case []any:
		for _, of := range v {
			walk(of, do)
		}
	}
}

func parsed(t *testing.T, text []byte) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

func TestSlackTakesNothingOfTheClusterForMoreThanText(t *testing.T) {
	for _, bad := range hostile {
		v := parsed(t, render(t, Slack, someMessage(bad, "another")))
		if text, _ := v["text"].(string); strings.ContainsAny(text, "<>@*`") || v["link_names"] != false {
			t.Errorf("the text of the notification: %q", text)
		}
		blocks, _ := v["blocks"].([]any)
		if len(blocks) > 50 {
			t.Errorf("%d blocks: Slack takes 50", len(blocks))
		}
		walk(v["blocks"], func(o map[string]any) {
			text, isText := o["text"].(string)
			switch {
			case !isText:
			case o["type"] != "plain_text":
				t.Errorf("%q is of the type %v, in which Slack looks for mentions and links", text, o["type"])
			case len([]rune(text)) > 3000:
				t.Errorf("a text of %d characters: Slack takes 3000", len([]rune(text)))
			}
			if link, ok := o["url"].(string); ok && !strings.HasPrefix(link, "https://ops.example.com/khook/") {
				t.Errorf("it links to %s", link)
			}
		})
	}
}

func TestTeamsTakesNothingOfTheClusterForMoreThanText(t *testing.T) {
	for _, bad := range hostile {
		walk(parsed(t, render(t, Teams, someMessage(bad))), func(o map[string]any) {
			if o["type"] == "TextBlock" {
				t.Errorf("%v is Markdown", o["text"])
			}
			if link, ok := o["url"].(string); ok && !strings.HasPrefix(link, "https://ops.example.com/khook/") {
				t.Errorf("it links to %s", link)
			}
		})
	}
}

// outsideOfCode is Markdown without its fenced blocks, read as CommonMark has it: a fence of n backticks is ended by one of at least n, alone on
// its line.
func outsideOfCode(markdown string) (rest []string, open bool) {
	fence := 0
	for line := range strings.SplitSeq(markdown, "\n") {
		bare := strings.TrimLeft(line, " ")
		ticks := len(bare) - len(strings.TrimLeft(bare, "`"))
		switch {
		case fence == 0 && ticks >= 3:
			fence = ticks
		case fence > 0 && ticks >= fence && strings.TrimSpace(bare[ticks:]) == "" && len(line)-len(bare) < 4:
			fence = 0
		case fence == 0:
			rest = append(rest, line)
		}
	}
	return rest, fence > 0
}

func TestMattermostTakesNothingOfTheClusterForMoreThanText(t *testing.T) {
	check := func(t interface {
		Fatal(...any)
		Errorf(string, ...any)
	}, texts ...string,
	) {
		var v struct{ Text string }
		if err := json.Unmarshal(render(t, Mattermost, someMessage(texts...)), &v); err != nil {
			t.Fatal(err)
		}
		if n := len([]rune(v.Text)); n > 16_383 {
			t.Errorf("%d characters: Mattermost cuts them", n)
		}
		rest, open := outsideOfCode(v.Text)
		if open {
			t.Errorf("a block of code has no end: %q", v.Text)
		}
		for _, line := range rest {
			own := line == "" || strings.HasPrefix(line, "#### A person is needed") || strings.HasPrefix(line, "[Open in khook](https://ops.example.com/khook/") || strings.HasPrefix(line, "And ")
			if !own {
				t.Errorf("%q is outside of the code", line)
			}
		}
	}
	for _, bad := range hostile {
		check(t, bad, "another")
	}
	rapid.Check(t, func(rt *rapid.T) {
		check(rt, rapid.SliceOfN(rapid.StringOf(rapid.SampledFrom([]rune("`` `@\n\t a~#[]()|\r"))), 1, maxItems).Draw(rt, "texts")...)
	})
}

func TestWhatCannotBeSeenIsNotSent(t *testing.T) {
	for _, shape := range []Shape{Slack, Teams, Mattermost, JSON, Alertmanager, CloudEvents} {
		for _, bad := range hostile {
			text := string(render(t, shape, someMessage(bad)))
			for _, r := range []string{"\u202e", "\u200b", "\u2066", `\u202e`, `\u200b`, "\x1b", `\u001b`, `\u0000`} {
				if strings.Contains(text, r) {
					t.Errorf("%s has %q", shape, r)
				}
			}
		}
	}
}

// TestAReceiverOfCloudEventsTakesThem asks the SDK of CloudEvents.
func TestAReceiverOfCloudEventsTakesThem(t *testing.T) {
	n := &Notifier{Name: "bus", Shape: CloudEvents}
	for _, bad := range hostile {
		m := someMessage(bad)
		text, contentType, err := n.body(m)
		if err != nil {
			t.Fatal(err)
		}
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost/", bytes.NewReader(text))
		r.Header.Set("Content-Type", contentType)
		e, err := cebinding.ToEvent(t.Context(), cehttp.NewMessageFromHttpRequest(r))
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Validate(); err != nil {
			t.Error(err)
		}
		var item Item
		if err := e.DataAs(&item); err != nil || item != m.Items[0] {
			t.Errorf("%+v, %v", item, err)
		}
		if e.ID() != m.Items[0].ID || e.Source() != "/khook/prod" || e.Type() != "dev.kagent.khook.needs-person.v1" || e.Subject() != "incidents/i" {
			t.Errorf("%v", e)
		}
	}
}

// TestAReceiverOfAlertmanagerTakesThem decodes what Alertmanager documents of its webhooks, and nothing else.
func TestAReceiverOfAlertmanagerTakesThem(t *testing.T) {
	var got struct {
		Version, GroupKey, Status, Receiver, ExternalURL string
		TruncatedAlerts                                  uint64
		GroupLabels, CommonLabels, CommonAnnotations     map[string]string
		Alerts                                           []struct {
			Status, GeneratorURL, Fingerprint string
			Labels, Annotations               map[string]string
			StartsAt, EndsAt                  time.Time
		}
	}
	m := someMessage(hostile...)
	well := Item{ID: strings.Repeat("9", 36), Kind: notice.Outcome, About: "recovered", At: time.Unix(200, 0).UTC(), Title: "Recovered"}
	m.Items = append(m.Items, well)
	d := json.NewDecoder(bytes.NewReader(render(t, Alertmanager, m)))
	d.DisallowUnknownFields()
	if err := d.Decode(&got); err != nil {
		t.Fatal(err)
	}
	first, last := got.Alerts[0], got.Alerts[len(got.Alerts)-1]
	if got.Version != "4" || got.Status != "firing" || got.Receiver != "oncall" || first.Labels["alertname"] != "KhookNeedsPerson" || first.Labels["cluster"] != "prod" ||
		first.Status != "firing" || !first.EndsAt.IsZero() || last.Status != "resolved" || !last.EndsAt.Equal(well.At) {
		t.Errorf("%+v", got)
	}
}

func TestATemplateIsTriedBeforeItIsNeeded(t *testing.T) {
	for text, want := range map[string]string{
		`{"text": {{json (index .Items 0).Title}}}`: "",
		`{"text": "{{(index .Items 0).Title}}"}`:    "it does not give JSON",
		`{"text": {{json .Nothing}}}`:               "can't evaluate field Nothing",
		`{{`:                                        "template: ",
		`{{range .Items}}{{json .}}{{end}}`:         "",
	} {
		n := &Notifier{Name: "own", Shape: Template, URL: "http://localhost/x", Template: text}
		err := (&Config{Notifiers: []*Notifier{n}}).complete()
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
