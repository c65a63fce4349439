package incident

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of what names things in a signal, in bytes. What Kubernetes itself makes is within them; but
// an Event's regarding.uid and a Pod's ownerReferences are checked by nobody.
const (
	MaxKey        = 253
	MaxUID        = 128
	MaxName       = 253 // also of namespaces, nodes and containers
	MaxKind       = 63
	maxLabelKey   = 317 // a prefix of 253, a slash and a name of 63
	maxLabelValue = 63
)

// Fit makes text that names something fit for any store: valid UTF-8 without control characters, which
// PostgreSQL refuses, and at most limit bytes. What fits is returned as it is. Of what does not, a
// digest is part of the result: so it is the same each time, and two names stay two. limit must be at
// least 32.
func Fit(text string, limit int) string {
	if fits(text, limit) {
		return text
	}
	sum := sha256.Sum256([]byte(text))
	digest := "~" + hex.EncodeToString(sum[:8])
	clean := strings.ToValidUTF8(text[:min(len(text), limit)], "")
	clean = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, clean)
	return Truncate(clean, limit-len(digest)) + digest
}

func fits(text string, limit int) bool {
	if len(text) > limit || !utf8.ValidString(text) {
		return false
	}
	return strings.IndexFunc(text, unicode.IsControl) < 0
}

// Fitted returns the signal as it can be recorded, whatever its source let through: what names things
// is fit and bounded, see Fit, and texts are cleaned. The same signal always becomes the same one.
func (s Signal) Fitted() Signal {
	s.Key, s.Type = Fit(s.Key, MaxKey), EventType(Fit(string(s.Type), MaxKind))
	s.Resource = Resource{
		Kind: Fit(s.Resource.Kind, MaxKind), Namespace: Fit(s.Resource.Namespace, MaxName),
		Name: Fit(s.Resource.Name, MaxName), UID: Fit(s.Resource.UID, MaxUID),
	}
	s.Container, s.CauseContainer = Fit(s.Container, MaxName), Fit(s.CauseContainer, MaxName)
	s.Workload = s.Workload.Fitted()
	s.Node = Fit(s.Node, MaxName)
	if !fits(s.Reason, MaxReason) {
		s.Reason = Clean(s.Reason, MaxReason)
	}
	if !fits(s.Message, MaxMessage) {
		s.Message = Clean(s.Message, MaxMessage)
	}
	s.Attributes = s.Attributes.fitted()
	return s
}

// Fitted returns the workload with a kind and a name that can be recorded.
func (w Workload) Fitted() Workload {
	return Workload{Kind: Fit(w.Kind, MaxKind), Name: Fit(w.Name, MaxName)}
}

// fittedLabels is a copy if a label does not fit: the map is shared.
func fittedLabels(labels map[string]string) map[string]string {
	fit := true
	for k, v := range labels {
		fit = fit && fits(k, maxLabelKey) && fits(v, maxLabelValue)
	}
	if fit {
		return labels
	}
	fitted := make(map[string]string, len(labels))
	for k, v := range labels {
		fitted[Fit(k, maxLabelKey)] = Fit(v, maxLabelValue)
	}
	return fitted
}
