// Package cli is the command line: the flags of khook controller, which it turns into app.Options, and the commands for
// people, which ask the HTTP API of a running khook or work offline (validate, replay, openapi, completion).
//
// It is the only place that reads flags and khook's own environment variables; KUBECONFIG is left to client-go, in app
// and in api/client. It decides nothing: what it shows is what the API or
// the library answered. Texts that came from a cluster or an agent are printed so that a terminal can't obey them.
package cli
