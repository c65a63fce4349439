package cli

import (
	"os"
	"strings"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// color is what a terminal is told to write in (ECMA-48, Select Graphic Rendition).
type color string

// Few, so that they mean something: red is what is broken, yellow what is under way or waits, green what has become well.
const (
	red    color = "31"
	green  color = "32"
	yellow color = "33"
	gray   color = "90"
)

// colorOf are the colors of states, as they are printed.
var colorOf = map[string]color{
	string(incident.Firing): red, string(incident.Duplicate): gray, string(incident.Resolved): green,
	string(incident.Recovered): green, string(incident.Quiet): gray, string(incident.WasGone): gray,

	string(delivery.Pending): yellow, string(delivery.Calling): yellow, string(delivery.Working): yellow, string(delivery.InputRequired): yellow,
	string(delivery.Succeeded): green, string(delivery.Failed): red, string(delivery.Rejected): red, string(delivery.Expired): red, string(delivery.Canceled): gray,
	string(delivery.OutcomeRelapsed): red, string(delivery.OutcomePersisting): red, string(delivery.OutcomeUnknown): gray,

	string(api.Healthy): green, string(api.Degraded): yellow, string(api.Unhealthy): red,
	"True": green, "False": red, "Unknown": yellow, "Paused": yellow, "Suspended": yellow, // of Hooks
	"ok": green, "NO": red, // of checklists
}

// stateColumns are those with a state in them. Others are in the terminal's own color: a Pod may be called failed.
var stateColumns = map[string]bool{"STATUS": true, "STATE": true, "OUTCOME": true, "READY": true, noHeader: true}

// stateFields are the fields of a story that begin with a state.
var stateFields = map[string]bool{"Status": true, "State": true, "Ready": true}

// wantsColor says whether states are colored: --color says so or, where that leaves it open, the output is a terminal that
// can, and nobody set NO_COLOR (no-color.org).
func wantsColor(flag string, terminal bool) bool {
	if flag != "auto" {
		return flag == "always"
	}
	return terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// paint is a text that begins with a state, in the state's color.
func (p *display) paint(text string) string {
	state, _, _ := strings.Cut(text, " ")
	state = strings.TrimRight(state, ",:")
	c, ok := colorOf[state]
	if !ok || !p.colored {
		return text
	}
	return "\x1b[" + string(c) + "m" + state + "\x1b[0m" + text[len(state):]
}
