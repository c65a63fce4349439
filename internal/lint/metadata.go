package lint

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"

	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// metadataOf reads an object's metadata as the API server does, and says what is wrong with it.
// The namespace is that of Hooks that name none.
func metadataOf(object map[string]any, namespace string) (*metav1.ObjectMeta, []mistake) {
	if _, ok := object["metadata"].(map[string]any); !ok && object["metadata"] != nil {
		delete(object, "metadata") // so that this is told once
		return &metav1.ObjectMeta{Namespace: namespace}, []mistake{{"metadata", "must be a map with the Hook's name"}}
	}
	var found []mistake
	options := objectmeta.ObjectMetaOptions{ReturnUnknownFieldPaths: true}
	m, _, unknown, err := objectmeta.GetObjectMetaWithOptions(object, options)
	if err != nil {
		found = malformed(object)
		options.DropMalformedFields = true
		m, _, unknown, _ = objectmeta.GetObjectMetaWithOptions(object, options)
	}
	if m == nil {
		m = &metav1.ObjectMeta{}
	}
	for _, path := range unknown {
		found = append(found, mistake{path, "unknown field: remove it"})
	}
	if m.Namespace == "" {
		m.Namespace = namespace
	}
	tried := m.DeepCopy()
	if m.Name == "" && len(validation.NameIsDNSSubdomain(m.GenerateName, true)) == 0 {
		tried.Name = m.GenerateName[:min(len(m.GenerateName), 58)] + "xxxxx" // as the API server makes it
	}
	errs := validation.ValidateObjectMeta(tried, true, validation.NameIsDNSSubdomain, field.NewPath("metadata"))
	if m.Name == "" && m.GenerateName == "" {
		errs = field.ErrorList{field.Required(field.NewPath("metadata", "name"), "")}
	}
	for _, e := range errs {
		if sameField := func(m mistake) bool { return m.field == e.Field }; slices.ContainsFunc(found, sameField) {
			continue
		}
		if e.Field != "metadata.name" || m.Name != "" || m.GenerateName == "" {
			found = append(found, mistake{e.Field, say(e)})
		}
	}
	return m, found
}

var wrongType = regexp.MustCompile(`cannot unmarshal (\w+) into .* of type (\S+)`)

// malformed finds the fields of the metadata that have the wrong type.
func malformed(object map[string]any) []mistake {
	fields, _ := object["metadata"].(map[string]any)
	var found []mistake
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		data, err := json.Marshal(map[string]any{key: fields[key]})
		if err == nil {
			err = json.Unmarshal(data, &metav1.ObjectMeta{})
		}
		if err == nil {
			continue
		}
		message := "can't be read: " + err.Error()
		if types := wrongType.FindStringSubmatch(message); types != nil {
			message = fmt.Sprintf("has the wrong type: write a %s where there is a %s", types[2], types[1])
		}
		found = append(found, mistake{"metadata." + key, message})
	}
	return found
}
