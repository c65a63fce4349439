package incident

// Facts are what is known of an event when Hooks are asked about it, and when a prompt is rendered for it.
type Facts struct {
	Cluster  string
	Signal   *Signal
	Incident *Incident // nil in an offline check
}
