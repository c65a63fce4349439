// Package manifest reads texts of YAML and JSON documents into objects that know where in the text each value stands.
//
// It knows no Hook and no Kubernetes resource. What it reads is untrusted: aliases, nesting and size are bounded before
// anything is unfolded.
package manifest
