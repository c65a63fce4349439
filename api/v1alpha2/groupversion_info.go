// Package v1alpha2 holds the Hook resource of the API group kagent.dev.
//
// It has types and the rules that an API server can check (markers), and no code that decides: what a Hook means is in
// package hook. It imports nothing of khook's, since others import it to write Hooks. Fields are added, never changed.
//
// +kubebuilder:object:generate=true
// +groupName=kagent.dev
package v1alpha2

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	// SchemeGroupVersion is the group and version of the Hook resource.
	SchemeGroupVersion = schema.GroupVersion{Group: "kagent.dev", Version: "v1alpha2"}
	// GroupVersion is SchemeGroupVersion, under the name that kubebuilder projects use.
	GroupVersion = SchemeGroupVersion

	// SchemeBuilder collects the functions that add the types to a scheme.
	SchemeBuilder = runtime.NewSchemeBuilder(addTypes)
	// AddToScheme adds the types of this package to a scheme.
	AddToScheme = SchemeBuilder.AddToScheme
)

func addTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(SchemeGroupVersion, &Hook{}, &HookList{})
	metav1.AddToGroupVersion(scheme, SchemeGroupVersion)
	return nil
}
