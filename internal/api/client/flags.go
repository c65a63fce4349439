package client

import (
	"regexp"
	"strings"
)

// flagOf names the flag of the command line that a parameter, or a property of a body, of the HTTP API is set by: the API's answers
// speak of what it was sent, and people of what they typed.
var flagOf = map[string]string{
	"namespace": "-n", "eventType": "--type", "resourceName": "--resource", "workload": "--workload", "status": "--status", "state": "--state",
	"hook": "--hook", "agent": "--agent", "incident": "--incident", "sort": "--sort-by", "limit": "--limit", "startTime": "--since or --start",
	"endTime": "--end", "timeRange": "--range", "interval": "--interval", "by": "--by", "since": "--since", "pod": "the Pod", "event": "the ID of the event",
	"idPrefix": "the ID", "for": "--for", "reason": "--reason", "questionId": "--question", "text": "the text", "cancel": "--cancel",
}

var (
	namedParameter = regexp.MustCompile(`\b(?:query parameter |query\.|body\.)(\w+)`)
	assigned       = regexp.MustCompile(`\b(by|namespace)=(\.\.\.|\w+)`)
	anotherVersion = regexp.MustCompile(`^query parameter (\w+): there is no such parameter`)
	audience       = regexp.MustCompile(`--audience [^\s)]+`)
)

// inFlags says with flags what the API says with parameters.
func inFlags(detail string) string {
	if m := anotherVersion.FindStringSubmatch(detail); m != nil {
		return "the khook that answers is older than this command: it does not know the parameter " + m[1]
	}
	detail = namedParameter.ReplaceAllStringFunc(detail, func(found string) string {
		name := namedParameter.FindStringSubmatch(found)[1]
		if flag, ok := flagOf[name]; ok {
			return flag
		}
		return found
	})
	detail = assigned.ReplaceAllStringFunc(detail, func(found string) string {
		m := assigned.FindStringSubmatch(found)
		return flagOf[m[1]] + " " + strings.ReplaceAll(m[2], "...", "NAMESPACE")
	})
	return strings.ReplaceAll(detail, "timeRange", "--range")
}

// tokenCommand is what makes a token that is asked for.
func tokenCommand(detail string) string {
	command := "kubectl create token SERVICEACCOUNT -n NAMESPACE"
	if a := audience.FindString(detail); a != "" {
		command += " " + a
	}
	return `--token "$(` + command + `)"`
}
