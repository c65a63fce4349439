// Package crd holds the CustomResourceDefinition of Hooks, as it is installed in a cluster.
package crd

import _ "embed"

// Hooks is the CustomResourceDefinition as YAML, generated from api/v1alpha2.
//
//go:embed kagent.dev_hooks.yaml
var Hooks []byte
