package lint

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kagent-dev/khook/config/crd"
	"github.com/kagent-dev/khook/internal/incident"
)

// TestTheCRDNamesTheEventTypesThatThereAre holds the markers of the Hook API, which have to spell them out.
func TestTheCRDNamesTheEventTypesThatThereAre(t *testing.T) {
	var quoted, plain []string
	for _, e := range incident.EventTypes() {
		quoted, plain = append(quoted, "'"+string(e)+"'"), append(plain, string(e))
	}
	last := len(plain) - 1
	prose := strings.Join(plain[:last], ", ") + " or " + plain[last]
	text := strings.Join(strings.Fields(string(crd.Hooks)), " ")
	for _, want := range []string{
		fmt.Sprintf("self in [%s]", strings.Join(quoted, ", ")),
		"unknown event type: use " + prose,
		"EventType is the kind of event: " + prose,
	} {
		if !strings.Contains(strings.ReplaceAll(text, "''", "'"), want) {
			t.Errorf("the CRD does not say %q: change the markers in api/v1alpha2, and run make generate", want)
		}
	}
}
