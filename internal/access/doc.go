// Package access finds out who calls the HTTP API and what the caller may do, by asking Kubernetes: whose token it
// is by a TokenReview, what its owner may do by a SubjectAccessReview, or both in the caller's own name.
//
// Kubernetes decides; the package only remembers its answers, for seconds, and bounds how often it asks. What it
// can't find out is an error and never a no: a caller whom Kubernetes knows must not be taken for a stranger
// because the API server is slow. Tokens are kept as hashes and never logged.
package access
