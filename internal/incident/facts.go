package incident

// Facts are what is known of an event when Hooks are asked about it, and when a prompt is rendered for it.
type Facts struct {
	Cluster  string
	Signal   *Signal
	Incident *Incident // nil in an offline check
	URL      string    // of the incident's page, for people; empty if nobody knows how they reach khook
}
