package replay

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/hook"
)

// ReadHooks reads the Hooks of YAML files and refuses those that khook could not use.
func ReadHooks(paths []string, policy hook.Policy) ([]*v1alpha2.Hook, error) {
	var hooks []*v1alpha2.Hook
	for _, path := range paths {
		found, err := readHookFile(path)
		if err != nil {
			return nil, fmt.Errorf("read hooks: %s: %w", path, err)
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("read hooks: %s: there is no Hook in it (apiVersion %s, kind Hook)", path, v1alpha2.SchemeGroupVersion)
		}
		for _, h := range found {
			tried := h
			if tried.Namespace == "" { // it gets that of the recording
				tried = h.DeepCopy()
				tried.Namespace = "default"
			}
			if _, errs := hook.Compile(tried, policy); len(errs) > 0 {
				return nil, fmt.Errorf("hook %s in %s can't be used: %w", h.Name, path, errs.ToAggregate())
			}
		}
		hooks = append(hooks, found...)
	}
	return hooks, nil
}

// maxHookFile bounds a file of Hooks, in bytes.
const maxHookFile = 8 << 20

// readHookFile reads the Hooks of a file with one or several YAML or JSON documents. Other kinds
// of objects are passed over, unknown fields are errors.
func readHookFile(path string) ([]*v1alpha2.Hook, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	reader := yaml.NewYAMLReader(bufio.NewReader(io.LimitReader(f, maxHookFile)))
	var hooks []*v1alpha2.Hook
	for n := 1; ; n++ {
		doc, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return hooks, nil
		}
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", n, err)
		}
		var kind metav1.TypeMeta
		if err := sigsyaml.Unmarshal(doc, &kind); err != nil {
			return nil, fmt.Errorf("document %d: %w", n, err)
		}
		if kind.Kind != "Hook" || kind.GroupVersionKind().Group != v1alpha2.SchemeGroupVersion.Group {
			continue
		}
		h := &v1alpha2.Hook{}
		if err := sigsyaml.UnmarshalStrict(doc, h); err != nil {
			return nil, fmt.Errorf("document %d: %w", n, err)
		}
		if h.UID == "" {
			h.UID = types.UID(h.Namespace + "/" + h.Name)
		}
		hooks = append(hooks, h)
	}
}
