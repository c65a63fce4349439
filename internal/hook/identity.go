package hook

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/delivery"
)

// keyDigits is how many hex digits of its digest tell configurations of one event type apart.
const keyDigits = 8

// contentOf is a digest, in hex, of what a configuration is about and whom it calls: the event type, the agent, the
// selector, the match expression and the grouping. The prompt and the limits are not part of it: who edits them means the
// same configuration. Histories have it, so what it is made of must not change.
func contentOf(ec *v1alpha2.EventConfiguration, agent delivery.AgentRef, selector labels.Selector) string {
	by := ec.GroupBy
	if by == "" {
		by = v1alpha2.GroupByWorkload
	}
	parts, err := json.Marshal([]string{ec.EventType, agent.String(), canonical(selector), strings.TrimSpace(ec.Match), string(by)})
	if err != nil {
		panic(err) // strings can always be marshaled
	}
	sum := sha256.Sum256(parts)
	return hex.EncodeToString(sum[:16])
}

// canonical is a selector as a text that does not depend on the order of its requirements and their values.
func canonical(selector labels.Selector) string {
	requirements, _ := selector.Requirements()
	texts := make([]string, len(requirements))
	for i := range requirements {
		texts[i] = requirements[i].String() // its values are sorted
	}
	slices.Sort(texts)
	return strings.Join(texts, ",")
}

// assignKeys gives each configuration of a Hook the key that tells it from the others: its name or, if it has none, its
// event type with the first digits of its content's digest. Of several with the same, the second gets "#2" and so
// on, so that no two of a Hook's keys are equal. Names come first: nothing takes the key of one that is named.
func assignKeys(h *v1alpha2.Hook, configs []*Config) {
	taken := map[string]bool{}
	for _, named := range []bool{true, false} {
		for i, c := range configs {
			name := h.Spec.EventConfigurations[i].Name
			if named != (name != "") {
				continue
			}
			key := name
			if !named {
				key = fmt.Sprintf("%s-%.*s", c.EventType, keyDigits, c.content)
			}
			c.Key = unique(key, taken)
		}
	}
}

// unique is the key or, if that is taken, the key with the first number that is free. It is taken then.
func unique(key string, taken map[string]bool) string {
	free := key
	for n := 2; taken[free]; n++ {
		free = fmt.Sprintf("%s#%d", key, n)
	}
	taken[free] = true
	return free
}

// nameOf holds a configuration's name against its form, and against the names of those before it.
func nameOf(name string, seen map[string]bool, path *field.Path) field.ErrorList {
	if name == "" {
		return nil
	}
	var errs field.ErrorList
	for _, why := range validation.IsDNS1123Label(name) {
		errs = append(errs, field.Invalid(path, name, why))
	}
	if seen[name] {
		errs = append(errs, field.Duplicate(path, name))
	}
	seen[name] = true
	return errs
}

// Identity is how the configuration is told from the others of its Hook.
func (c *Config) Identity() delivery.Configuration {
	return delivery.Configuration{Key: c.Key, Content: c.content, EventType: c.EventType, Agent: c.Agent}
}

// FormerKeys are the keys under which khook 0.1.0 recorded these configurations of a Hook, which are in
// the order of its list: the event type, with "#2" and so on for further ones of that type.
func FormerKeys(configs []*Config) []string {
	keys, taken := make([]string, len(configs)), map[string]bool{}
	for i, c := range configs {
		keys[i] = unique(string(c.EventType), taken)
	}
	return keys
}
