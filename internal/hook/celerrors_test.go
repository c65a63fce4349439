package hook

import (
	"strings"
	"testing"
)

func TestErrorsOfExpressionsSayWhatIsAllowed(t *testing.T) {
	for text, want := range map[string]string{
		"event.restarts > 3":                 "at character 6: an event has no restarts: it has container, count, exitCode, labels, message, name, namespace, node, reason, restartCount, type, workloadKind, workloadName",
		"evnt.count > 1":                     "at character 1: evnt is not known: the one variable is event, with container, count,",
		"count > 3":                          "at character 1: count is not known: write event.count",
		"event.name.beginsWith('x')":         "at character 22: beginsWith is not known: the one variable is event, with container,",
		"event.count == '3'":                 "at character 13: == does not take a number and a text: texts are written in quotes and numbers without",
		"event.reason in 'x'":                "at character 14: in does not take a text and a text",
		"true ? 1 : 'x'":                     "at character 6: ? : does not take a condition and a number and a text",
		"!event.count":                       "at character 1: ! does not take a number",
		"size(event)":                        "at character 5: size does not take the event as a whole",
		"event.name && true":                 "at character 6: a condition must stand here, which is true or false, and this is a text",
		"event.labels.app.kubernetes == 'x'": `at character 17: a text has no fields; a label with dots in its name is written event.labels["a.b/c"]`,
		"event.reason = 'x'":                 "at character 14: = is no comparison: write ==",
		"event.":                             "at character 7: this is no expression in CEL, such as event.count > 3",
		"true &&\n evnt":                     "line 2, character 2: evnt is not known",
		"event.count + 1":                    "must be true or false, is int: compare it with something",
	} {
		_, err := parseMatch(text)
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "<input>") {
			t.Errorf("%s\n got %v\nwant %s", text, err, want)
		}
	}
}
