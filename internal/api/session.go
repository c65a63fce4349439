package api

import "time"

// Session is whether a browser is known, and whether it may become so.
type Session struct {
	Authentication string     `json:"authentication" enum:"kubernetes,none" doc:"none: khook asks nobody who they are, so nobody needs to log in."`
	State          string     `json:"state" enum:"none,active,ended" doc:"none: the request has no session. ended: it has one that does not count any more, because its token ended or was taken back, or because a part of it is missing."`
	Name           string     `json:"name,omitempty" doc:"Who logged in, as Kubernetes names them." example:"system:serviceaccount:shop:oncall"`
	ExpiresAt      *time.Time `json:"expiresAt,omitempty" doc:"When the session ends: with its token, and after 12 hours at the latest."`
	Login          Login      `json:"login"`
}

// Login is whether a token may be handed over as the request came.
type Login struct {
	Allowed  bool   `json:"allowed" doc:"Whether POST /session takes a token from here."`
	Reason   string `json:"reason,omitempty" doc:"Why not, and what to do."`
	Audience string `json:"audience,omitempty" doc:"The audience for which the token must be made; absent if one for the API server does."`
}

// Me is who asks, and what they may.
type Me struct {
	Name           string     `json:"name" doc:"As Kubernetes names the caller; empty where nobody is asked who they are." example:"system:serviceaccount:shop:oncall"`
	Groups         []string   `json:"groups" nullable:"false" doc:"At most 100."`
	Authentication string     `json:"authentication" enum:"token,session,none" doc:"By what the caller is known: a bearer token, the cookies of a session; none: khook asks nobody, and everybody may do everything."`
	ExpiresAt      *time.Time `json:"expiresAt,omitempty" doc:"When the session ends."`
	Everywhere     Rights     `json:"everywhere" doc:"What the caller may in all namespaces."`
	// Namespaces are those in which the caller may more than everywhere.
	Namespaces []NamespaceRights `json:"namespaces" nullable:"false" doc:"The namespaces with Hooks in which the caller may read, with what they may there; none where everything is allowed everywhere. With the parameter namespace: that one, with its Hooks."`
	Truncated  bool              `json:"truncated,omitempty" doc:"There are more namespaces, or Hooks in the one that was named, than were looked at."`
}

// Rights are what a caller may.
type Rights struct {
	Read    bool `json:"read" doc:"Events, incidents, deliveries without their texts, Hooks, statistics: list on hooks."`
	Texts   bool `json:"texts" doc:"What was asked and said in deliveries: get on hooks/deliveries."`
	Act     bool `json:"act" doc:"Reply, cancel, retry, resume: update on hooks/deliveries."`
	Approve bool `json:"approve" doc:"Approve and reject: approve on hooks/deliveries."`
	Pause   bool `json:"pause" doc:"Pause and resume calls: update on hooks/pause."`
}

// All says whether the caller may everything.
func (r Rights) All() bool {
	return r == Rights{Read: true, Texts: true, Act: true, Approve: true, Pause: true}
}

// NamespaceRights are what a caller may in a namespace.
type NamespaceRights struct {
	Namespace string `json:"namespace" example:"shop"`
	Rights
	Hooks []HookRights `json:"hooks,omitempty" doc:"The Hooks for which the caller may more than in the whole namespace; with the parameter namespace only."`
}

// HookRights are what a caller may for a Hook.
type HookRights struct {
	Hook string `json:"hook" example:"memory"`
	Rights
}
