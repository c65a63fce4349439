package hook

import "github.com/kagent-dev/khook/internal/incident"

// Facts are what is known of an event when Hooks are asked about it, and when a prompt is rendered for it.
type Facts struct {
	Cluster  string
	Signal   *incident.Signal
	Incident *incident.Incident // nil in an offline check
}
