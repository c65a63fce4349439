package lint

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	schemavalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/config/crd"
)

// maxMistakes bounds what is told of one Hook's unknown fields, and of its other ones.
const maxMistakes = maxFindings

// mistake is something wrong with one field.
type mistake struct{ field, message string }

// hookRules is what the CustomResourceDefinition says of Hooks, checked by the API server's own code.
type hookRules struct {
	structure *structuralschema.Structural
	values    schemavalidation.SchemaValidator
	rules     *cel.Validator
}

var hookSchema = sync.OnceValues(func() (*hookRules, error) {
	s, err := newSchema(crd.Hooks)
	if err != nil {
		return nil, fmt.Errorf("read the CustomResourceDefinition of Hooks: %w", err)
	}
	return s, nil
})

func newSchema(definition []byte) (*hookRules, error) {
	var crd apiextensionsv1.CustomResourceDefinition
	if err := sigsyaml.Unmarshal(definition, &crd); err != nil {
		return nil, err
	}
	i := slices.IndexFunc(crd.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool {
		return v.Name == v1alpha2.SchemeGroupVersion.Version
	})
	if i < 0 || crd.Spec.Versions[i].Schema == nil {
		return nil, errors.New("it has no schema for " + v1alpha2.SchemeGroupVersion.String())
	}
	var props apiextensions.JSONSchemaProps
	err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(crd.Spec.Versions[i].Schema.OpenAPIV3Schema, &props, nil)
	if err != nil {
		return nil, err
	}
	s := &hookRules{}
	if s.structure, err = structuralschema.NewStructural(&props); err != nil {
		return nil, err
	}
	if s.values, _, err = schemavalidation.NewSchemaValidator(&props); err != nil {
		return nil, err
	}
	s.rules = cel.NewValidator(s.structure, true, celconfig.PerCallLimit)
	return s, nil
}

// check does what the API server does with a new object under strict field validation, in its
// order. The object is pruned and gets its defaults.
func (s *hookRules) check(ctx context.Context, object map[string]any) []mistake {
	var found []mistake
	unknown := pruning.PruneWithOptions(object, s.structure, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	for _, path := range unknown[:min(len(unknown), maxMistakes)] {
		found = append(found, mistake{path, s.unknown(path)})
	}
	defaulting.PruneNonNullableNullsWithoutDefaults(object, s.structure)
	defaulting.Default(object, s.structure)
	delete(object, "status") // a new object has none
	errs := schemavalidation.ValidateCustomResource(nil, object, s.values)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, s.structure, object)...)
	if !slices.ContainsFunc(errs, hidesRules) {
		broken, _ := s.rules.Validate(ctx, nil, s.structure, object, nil, celconfig.RuntimeCELCostBudget)
		errs = append(errs, broken...)
	}
	for i, e := range errs[:min(len(errs), maxMistakes)] {
		if !repeats(errs[:i], e) {
			found = append(found, mistake{e.Field, say(e)})
		}
	}
	return found
}

// repeats says whether an error only follows from an earlier one: the value has the wrong type.
func repeats(earlier field.ErrorList, e *field.Error) bool {
	return slices.ContainsFunc(earlier, func(other *field.Error) bool {
		return other.Type == field.ErrorTypeTypeInvalid && (other.Field == e.Field || e.Field == noField)
	})
}

// noField is how an error names the field if it does not know it.
var noField = (*field.Path)(nil).String()

// hidesRules says whether the API server looks at no CEL rules because of an error.
func hidesRules(e *field.Error) bool {
	switch e.Type {
	case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
		return true
	}
	return false
}

var index = regexp.MustCompile(`\[\d+\]`)

// unknown says what may be written in place of an unknown field.
func (s *hookRules) unknown(path string) string {
	parent, fields := s.structure, []string{"apiVersion", "kind", "metadata", "spec"}
	parts := strings.Split(index.ReplaceAllString(path, ".[]"), ".")
	for _, part := range parts[:len(parts)-1] {
		next := parent.Items
		if part != "[]" {
			property, ok := parent.Properties[part]
			if !ok {
				return "unknown field: remove it"
			}
			next = &property
		}
		if next == nil {
			return "unknown field: remove it"
		}
		parent = next
		fields = slices.Sorted(maps.Keys(parent.Properties))
	}
	if len(fields) == 0 {
		return "unknown field: remove it"
	}
	return "unknown field: remove it, or use one of " + strings.Join(fields, ", ")
}

// say words an error for its user, without its field's name and without the value where the text
// shows it anyway.
func say(e *field.Error) string {
	detail := strings.TrimPrefix(e.Detail, e.Field+" in body ")
	switch e.Type {
	case field.ErrorTypeRequired:
		if detail == "" {
			return "is missing: add it"
		}
	case field.ErrorTypeNotSupported:
		return fmt.Sprintf("%q is not known: use one of %s", e.BadValue, strings.TrimPrefix(detail, "supported values: "))
	case field.ErrorTypeTooLong:
		return "is too long: " + strings.Replace(detail, "bytes", "characters", 1)
	case field.ErrorTypeTypeInvalid:
		kind, is, _ := strings.Cut(detail, ": ")
		if kind == "must be of type string" && slices.Contains([]string{`"boolean"`, `"integer"`, `"number"`}, is) {
			return kind + ": put it in quotes"
		}
		return kind
	}
	if detail == "" {
		return e.ErrorBody()
	}
	return detail
}
