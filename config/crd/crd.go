// Package crd holds the CustomResourceDefinition of Hooks, as it is installed in a cluster.
//
// It is generated from the types and embedded as it is: nothing here may change it, or khook would check Hooks by other rules
// than the API server does.
package crd

import _ "embed"

// Hooks is the CustomResourceDefinition as YAML, generated from api/v1alpha2.
//
//go:embed kagent.dev_hooks.yaml
var Hooks []byte
