package replay

// Story is the story as data.
type Story struct {
	Incidents  []Incident `json:"incidents"`
	Deliveries []Delivery `json:"deliveries"`

	Recordings []string `json:"-"` // their names, in the order in which they were replayed
}

// Incident is what the history says of one incident. Times are seconds of the recording.
type Incident struct {
	Recording    string   `json:"recording"`
	EventType    string   `json:"eventType"`
	Namespace    string   `json:"namespace"`
	ResourceName string   `json:"resourceName"`
	Container    string   `json:"container"`
	Workload     string   `json:"workload"`
	FirstSeen    float64  `json:"firstSeen"`
	LastSeen     float64  `json:"lastSeen"`
	ResolvedAt   *float64 `json:"resolvedAt"` // null while it is open
	Resolution   *string  `json:"resolution"` // null while it is open
	CausedBy     *string  `json:"causedBy"`   // event type of the incident that caused it, or null
	Events       int64    `json:"events"`
	Duplicates   int64    `json:"duplicates"` // of the events

	Message string `json:"-"` // of the newest event
}

// Delivery is one call that would have been made. Times are seconds of the recording.
type Delivery struct {
	Recording string  `json:"recording"`
	Hook      string  `json:"hook"`
	EventType string  `json:"eventType"`
	Group     string  `json:"group"`
	Agent     string  `json:"agent"`
	At        float64 `json:"at"`
	Prompt    string  `json:"prompt"`
	Events    int64   `json:"events"` // that the call stands for
}
