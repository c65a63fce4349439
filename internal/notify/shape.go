package notify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"strings"
	"text/template"
	"unicode/utf8"

	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/notice"
)

// Shape is the form of a message that a receiver takes.
type Shape string

// The shapes.
const (
	Slack        Shape = "slack"        // an incoming webhook: Block Kit
	Teams        Shape = "teams"        // a workflow's webhook: an Adaptive Card
	Mattermost   Shape = "mattermost"   // an incoming webhook
	JSON         Shape = "json"         // Message
	Alertmanager Shape = "alertmanager" // what Alertmanager sends to its webhooks, version 4
	CloudEvents  Shape = "cloudevents"  // 1.0 over HTTP in structured mode: a request for each thing
	Template     Shape = "template"     // by the notifier's own template
)

// Shapes lists all shapes.
func Shapes() []Shape {
	return []Shape{Slack, Teams, Mattermost, JSON, Alertmanager, CloudEvents, Template}
}

// alone says whether a message of the shape tells of one thing only.
func (s Shape) alone() bool { return s == CloudEvents }

// body renders a message. Whatever the cluster or an agent says stays text there: it can mention nobody, link to nothing, and look like nothing
// else.
func (n *Notifier) body(m *Message) (text []byte, contentType string, err error) {
	contentType = "application/json"
	switch n.Shape {
	case Slack:
		text, err = encoded(slackOf(m))
	case Teams:
		text, err = encoded(teamsOf(m))
	case Mattermost:
		text, err = encoded(mattermostOf(m))
	case Alertmanager:
		text, err = encoded(alertsOf(m))
	case CloudEvents:
		text, err = encoded(cloudEventOf(m))
		contentType = "application/cloudevents+json"
	case Template:
		return n.render(m)
	default:
		text, err = encoded(m)
	}
	return text, contentType, err
}

// encoded is v in JSON. Signs that mean something in HTML are escaped in it, as encoding/json does by default.
func encoded(v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err == nil && len(text) > maxBody {
		return nil, fmt.Errorf("the message has %d bytes: at most %d are sent", len(text), maxBody)
	}
	return text, err
}

// visible takes out what can't be seen, or turns the direction of what is: control and format characters, but line breaks and tabs.
func visible(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case incident.Unseen(r), r == '\u2028', r == '\u2029':
			return -1
		}
		return r
	}, text)
}

// heading sums up a message in khook's own words.
func heading(m *Message) string {
	n := len(m.Items) + m.More
	many := func(one, more string) string {
		if n == 1 {
			return one
		}
		return fmt.Sprintf(more, n)
	}
	kind, about := notice.Kind(""), ""
	if len(m.Items) > 0 {
		kind, about = m.Items[0].Kind, m.Items[0].About
	}
	switch {
	case about == notice.AboutTest:
		return "A test of khook"
	case kind == notice.NeedsPerson:
		return many("A person is needed", "A person is needed for %d things")
	case kind == notice.AgentFailed:
		return many("An agent failed", "%d calls to agents failed")
	case kind == notice.Outcome:
		return many("What became of it", "What became of %d calls")
	case kind == notice.Uncalled:
		return many("Nobody was called", "Nobody was called for %d incidents")
	}
	return "About khook itself"
}

// place is which khook tells it.
func place(m *Message) string {
	if m.Cluster == "" {
		return "khook"
	}
	return "khook in cluster " + m.Cluster
}

// untold says that there is more than the message tells in words; empty if there is not.
func untold(m *Message) string {
	if m.More == 0 {
		return ""
	}
	return fmt.Sprintf("And %d more: khook inbox and khook deliveries show them.", m.More)
}

type object = map[string]any

// Slack takes at most 50 blocks, with 3,000 characters of a text and 150 of a header. Text of the type plain_text is neither formatted nor
// searched for mentions and links.
const (
	slackText   = 3000
	slackHeader = 150
)

func slackPlain(text string, most int) object {
	return object{"type": "plain_text", "text": cutRunes(text, most), "emoji": false}
}

func cutRunes(text string, most int) string {
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	return string([]rune(text)[:most-1]) + "…"
}

// slackOf is the message as blocks. Its text, which devices show as a notification, is khook's own.
func slackOf(m *Message) object {
	blocks := []object{{"type": "header", "text": slackPlain(heading(m), slackHeader)}}
	for i := range m.Items {
		item := &m.Items[i]
		text := item.Title
		if item.Text != "" {
			text += "\n" + item.Text
		}
		section := object{"type": "section", "text": slackPlain(text, slackText)}
		if item.Link != "" {
			section["accessory"] = object{"type": "button", "text": slackPlain("Open in khook", slackHeader), "url": item.Link, "action_id": fmt.Sprintf("open-%d", i)}
		}
		blocks = append(blocks, section)
		if item.Command != "" {
			blocks = append(blocks, object{"type": "context", "elements": []object{slackPlain(item.Command, slackText)}})
		}
	}
	foot := place(m)
	if more := untold(m); more != "" {
		foot = more + " " + foot
	}
	blocks = append(blocks, object{"type": "context", "elements": []object{slackPlain(foot, slackText)}})
	return object{"text": slackEscaped(heading(m) + " (" + place(m) + ")"), "blocks": blocks, "mrkdwn": false, "link_names": false, "unfurl_links": false, "unfurl_media": false}
}

// slackEscaped escapes the three signs by which Slack marks mentions and links.
func slackEscaped(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(text)
}

// teamsOf is the message as an Adaptive Card. In a RichTextBlock's TextRun no Markdown counts, which a TextBlock has.
func teamsOf(m *Message) object {
	run := func(text string, more object) object {
		o := object{"type": "TextRun", "text": text}
		maps.Copy(o, more)
		return object{"type": "RichTextBlock", "inlines": []object{o}}
	}
	body := []object{run(heading(m), object{"weight": "Bolder", "size": "Large"})}
	var actions []object
	for i := range m.Items {
		item := &m.Items[i]
		body = append(body, run(item.Title, object{"weight": "Bolder"}))
		if item.Text != "" {
			body = append(body, run(item.Text, nil))
		}
		if item.Command != "" {
			body = append(body, run(item.Command, object{"fontType": "Monospace"}))
		}
		if item.Link != "" && len(actions) < 6 {
			actions = append(actions, object{"type": "Action.OpenUrl", "title": "Open in khook: " + short(item.ID), "url": item.Link})
		}
	}
	if more := untold(m); more != "" {
		body = append(body, run(more, nil))
	}
	body = append(body, run(place(m), object{"isSubtle": true, "size": "Small"}))
	card := object{"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4", "body": body}
	if len(actions) > 0 {
		card["actions"] = actions
	}
	return object{"type": "message", "attachments": []object{{"contentType": "application/vnd.microsoft.card.adaptive", "content": card}}}
}

// mattermostOf is the message as Markdown, in which all that is not khook's own is in fenced code: nobody is mentioned and nothing is formatted
// there. Mattermost cuts what has more than 16,383 characters; khook cuts it before, so that no fence stays open.
func mattermostOf(m *Message) object {
	const most = 16_000
	var b strings.Builder
	fmt.Fprintf(&b, "#### %s\n", heading(m))
	shown := 0
	for i := range m.Items {
		item := &m.Items[i]
		part := fenced(strings.TrimSpace(item.Title + "\n" + item.Text))
		if item.Command != "" {
			part += fenced(item.Command)
		}
		if item.Link != "" {
			part += "[Open in khook](" + item.Link + ")\n"
		}
		if utf8.RuneCountInString(b.String())+utf8.RuneCountInString(part) > most {
			break
		}
		b.WriteString(part)
		shown++
	}
	cut := *m
	cut.More += len(m.Items) - shown
	if more := untold(&cut); more != "" {
		b.WriteString(more + "\n")
	}
	b.WriteString(fenced(place(m)))
	return object{"text": b.String(), "username": "khook"}
}

// fenced is a text as a block of code. The fence is longer than any row of backticks in it, which therefore can't end it.
func fenced(text string) string {
	longest, row := 0, 0
	for _, r := range text {
		if row++; r != '`' {
			row = 0
		}
		longest = max(longest, row)
	}
	fence := strings.Repeat("`", max(3, longest+1))
	return fence + "text\n" + text + "\n" + fence + "\n"
}

// alertsOf is the message as Alertmanager sends it. An alert whose annotation says so is khook's test.
func alertsOf(m *Message) object {
	alerts := make([]object, 0, len(m.Items))
	status := "resolved"
	for i := range m.Items {
		item := &m.Items[i]
		is := "firing"
		if item.Kind == notice.Outcome && item.About == "recovered" || item.About == "well" {
			is = "resolved"
		}
		if is == "firing" {
			status = is
		}
		labels := object{"alertname": "Khook" + camel(string(item.Kind)), "about": item.About}
		for name, value := range map[string]string{
			"namespace": item.Namespace, "hook": item.Hook, "agent": item.Agent, "event_type": string(item.EventType), "group": item.Group, "cluster": m.Cluster,
		} {
			if value != "" {
				labels[name] = value
			}
		}
		alert := object{
			"status": is, "labels": labels, "annotations": object{"summary": item.Title, "description": item.Text, "command": item.Command},
			"startsAt": item.At, "endsAt": "0001-01-01T00:00:00Z", "generatorURL": item.Link, "fingerprint": strings.ReplaceAll(item.ID, "-", "")[:16],
		}
		if is == "resolved" {
			alert["endsAt"] = item.At
		}
		alerts = append(alerts, alert)
	}
	kind := ""
	if len(m.Items) > 0 {
		kind = "Khook" + camel(string(m.Items[0].Kind))
	}
	return object{
		"version": "4", "groupKey": m.ID, "truncatedAlerts": m.More, "status": status, "receiver": m.Notifier, "groupLabels": object{"alertname": kind},
		"commonLabels": object{"alertname": kind}, "commonAnnotations": object{}, "externalURL": "", "alerts": alerts,
	}
}

// camel is NeedsPerson for needs-person.
func camel(kind string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(kind, "-") {
		b.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return b.String()
}

// cloudEventOf is the only item as a CloudEvent. Its source and ID together are the same at each attempt.
func cloudEventOf(m *Message) object {
	item := &m.Items[0]
	source := "/khook"
	if m.Cluster != "" {
		source += "/" + m.Cluster
	}
	event := object{
		"specversion": "1.0", "id": item.ID, "source": source, "type": "dev.kagent.khook." + string(item.Kind) + ".v1", "time": item.At,
		"datacontenttype": "application/json", "data": item,
	}
	if item.IncidentID != "" {
		event["subject"] = "incidents/" + item.IncidentID
	}
	return event
}

// parseTemplate reads the notifier's own template, and tries it: on a message whose texts have quotes, line breaks and signs that mean
// something elsewhere.
func (n *Notifier) parseTemplate() error {
	if n.Shape != Template {
		if n.Template != "" || n.ContentType != "" {
			return errors.New("template and contentType are for the shape template only")
		}
		return nil
	}
	if n.ContentType == "" {
		n.ContentType = "application/json"
	}
	if _, _, err := mime.ParseMediaType(n.ContentType); err != nil {
		return fmt.Errorf("contentType is %q: write it such as application/json", n.ContentType)
	}
	parsed, err := template.New("template").Option("missingkey=error").Funcs(template.FuncMap{
		"json": func(v any) (string, error) { text, err := json.Marshal(v); return string(text), err },
	}).Parse(n.Template)
	if err != nil {
		return fmt.Errorf("template: %w", err)
	}
	n.parsed = parsed
	hostile := testItem(testTime)
	hostile.Title, hostile.Text = "a \"title\" with \\ and \u202e", "\"}, \"text\": \"<!channel>\n`"
	if _, _, err := n.render(&Message{ID: "0", Notifier: n.Name, Version: "test", Items: []Item{hostile}}); err != nil {
		return fmt.Errorf("template, tried with texts that have quotes and line breaks: %w", err)
	}
	return nil
}

func (n *Notifier) render(m *Message) ([]byte, string, error) {
	b := &boundedBuffer{}
	if err := n.parsed.Execute(b, m); err != nil {
		return nil, "", err
	}
	kind, _, _ := mime.ParseMediaType(n.ContentType)
	if (kind == "application/json" || strings.HasSuffix(kind, "+json")) && !json.Valid(b.Bytes()) {
		return nil, "", errors.New("it does not give JSON: write {{json .}} for what comes from khook, such as {{json (index .Items 0).Title}}, without quotes around it")
	}
	return b.Bytes(), n.ContentType, nil
}

// boundedBuffer refuses more than a message may have.
type boundedBuffer struct{ bytes.Buffer }

// Write implements io.Writer.
func (b *boundedBuffer) Write(text []byte) (int, error) {
	if b.Len()+len(text) > maxBody {
		return 0, fmt.Errorf("it gives more than %d bytes", maxBody)
	}
	return b.Buffer.Write(text)
}
