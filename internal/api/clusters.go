package api

// Clusters are the clusters whose history a caller may read here.
type Clusters struct {
	Items        []Cluster `json:"data" nullable:"false" doc:"khook's own first, the others by name."`
	ServesOthers bool      `json:"servesOthers" doc:"Whether this khook serves other clusters than its own (--serve-clusters)."`
}

// Cluster is one of them.
type Cluster struct {
	Name string `json:"name" doc:"Empty if its khook was given none." example:"east"`
	Own  bool   `json:"own,omitempty" doc:"It is the cluster of the khook that answers, and read by the rights to its Hooks; what may be done is done in it only."`
}
