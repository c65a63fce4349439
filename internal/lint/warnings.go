package lint

import (
	"fmt"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
)

// longPrompt is how many characters a prompt may have without a warning.
const longPrompt = 4_000

// warn tells of what is allowed, and rarely meant.
func (v *validator) warn(c *candidate, object map[string]any, foreign []string) {
	for _, field := range foreign {
		v.findings.addWarning(c.finding(field, "is set by the cluster, not by a manifest: remove it"))
	}
	if meta, _ := object["metadata"].(map[string]any); meta["namespace"] == nil || meta["namespace"] == "" {
		v.findings.addWarning(c.finding("metadata.namespace", "is missing: namespace "+c.hook.Namespace+" is assumed, write the one that is meant"))
	}
	if c.hook.Spec.Suspend {
		v.findings.addWarning(c.finding("spec.suspend", "the Hook calls no agent while this is true"))
	}
	if text, ok := c.hook.Annotations[v1alpha2.AnnotationResumedAt]; ok && hook.ResumedAt(c.hook).IsZero() {
		v.findings.addWarning(c.finding("metadata.annotations", fmt.Sprintf("%s is %q, which is no time and counts for nothing: write it as RFC 3339 has it, such as 2026-01-15T10:30:00Z",
			v1alpha2.AnnotationResumedAt, incident.Truncate(text, 80))))
	}
	for _, asked := range v.opt.Policy.StillMarked(c.hook) {
		v.findings.addWarning(c.finding(asked, hook.WhyMarked))
	}
	for i := range c.hook.Spec.EventConfigurations {
		if n := len([]rune(c.hook.Spec.EventConfigurations[i].Prompt)); n > longPrompt && c.valid(i) {
			v.findings.addWarning(c.finding(c.path(i)+".prompt", fmt.Sprintf(
				"the prompt has %d characters, which every call pays for: let it be short, and put the rest into the agent's own instructions", n)))
		}
		v.warnOfStall(c, i)
	}
}

// warnOfStall tells of what is said about stalled tasks in vain: none is before the timeout.
func (v *validator) warnOfStall(c *candidate, i int) {
	ec := &c.hook.Spec.EventConfigurations[i]
	after, timeout := delivery.DefaultStallAfter, hook.DefaultTimeout
	if ec.StallAfter != nil {
		after = ec.StallAfter.Duration
	}
	if ec.Timeout != nil {
		timeout = ec.Timeout.Duration
	}
	if (ec.StallAfter == nil && ec.OnStall == "") || after < timeout || !c.valid(i) {
		return
	}
	field := ".stallAfter"
	if ec.StallAfter == nil {
		field = ".onStall"
	}
	v.findings.addWarning(c.finding(c.path(i)+field, fmt.Sprintf(
		"a task counts as stalled after %s and is over after its timeout of %s: it is never stalled, let stallAfter be shorter", after, timeout)))
}

// serverSet lists the fields of an object that the cluster sets, not its author.
func serverSet(object map[string]any) []string {
	var found []string
	fields, _ := object["metadata"].(map[string]any)
	for _, key := range []string{"creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"} {
		if fields[key] != nil {
			found = append(found, "metadata."+key)
		}
	}
	if object["status"] != nil {
		found = append(found, "status")
	}
	return found
}
