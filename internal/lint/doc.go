// Package lint checks Hooks before they are applied: by the rules of the CustomResourceDefinition, by those of the
// controller, and against what is rarely meant. It says where in the text something is wrong and what to change.
//
// It has no rules of its own about what a Hook means: it asks package hook to compile it, so that what passes here is
// what the controller accepts. It changes nothing, and works without a cluster; with one, it asks through Lookup.
package lint
