package notify

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"text/template"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"github.com/kagent-dev/khook/internal/days"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/notice"
)

// Bounds of the file.
const (
	maxNotifiers = 20
	maxFile      = 256 << 10 // bytes
	maxHeaders   = 20
)

// Duration is one as people write it, such as "30s" or "2h".
type Duration time.Duration

// UnmarshalJSON reads it.
func (d *Duration) UnmarshalJSON(text []byte) error {
	parsed, err := days.Parse(strings.Trim(string(text), `"`))
	if err != nil {
		return err
	}
	*d = Duration(parsed)
	return nil
}

// MarshalJSON writes it.
func (d Duration) MarshalJSON() ([]byte, error) {
	return []byte(`"` + time.Duration(d).String() + `"`), nil
}

// Config is the notifiers' file.
type Config struct {
	Notifiers []*Notifier `json:"notifiers"`
}

// Notifier is one receiver, and what it is told.
type Notifier struct {
	Name    string   `json:"name"`
	Shape   Shape    `json:"shape"`
	URL     string   `json:"url,omitempty"`
	URLFile string   `json:"urlFile,omitempty"` // read before each attempt, so that it may be rotated
	Headers []Header `json:"headers,omitempty"`
	CAFile  string   `json:"caFile,omitempty"` // of the receiver's authority in PEM; the system's if empty

	Template    string `json:"template,omitempty"` // of the body, for the shape template
	ContentType string `json:"contentType,omitempty"`

	Tell  []notice.Kind `json:"tell,omitempty"`
	Match Match         `json:"match,omitzero"`

	UncalledAfter Duration `json:"uncalledAfter,omitempty"`
	UnwellAfter   Duration `json:"unwellAfter,omitempty"`
	GroupWait     Duration `json:"groupWait,omitempty"` // what comes within it is told in one message
	MaxPerHour    int      `json:"maxPerHour,omitempty"`

	parsed *template.Template
}

// Header is sent with each message.
type Header struct {
	Name      string `json:"name"`
	Value     string `json:"value,omitempty"`
	ValueFile string `json:"valueFile,omitempty"`
}

// Match says what of the cluster a notifier is told; an empty list is all.
type Match struct {
	Namespaces []string             `json:"namespaces,omitempty"`
	Types      []incident.EventType `json:"types,omitempty"`
	Hooks      []string             `json:"hooks,omitempty"` // as namespace/name
}

// The defaults of a notifier.
const (
	defaultUncalledAfter = 30 * time.Minute
	defaultUnwellAfter   = 2 * time.Minute
	defaultGroupWait     = 10 * time.Second
	defaultMaxPerHour    = 60
)

// Load reads a file. The error names the notifier and the field, and what is allowed.
func Load(path string) (*Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the notifiers: %w", err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("the notifiers' file %s has %d bytes: at most %d are read", path, len(text), maxFile)
	}
	c := &Config{}
	if err := yaml.UnmarshalStrict(text, c); err != nil {
		return nil, fmt.Errorf("the notifiers' file %s: %w", path, err)
	}
	if err := c.complete(); err != nil {
		return nil, fmt.Errorf("the notifiers' file %s: %w", path, err)
	}
	return c, nil
}

// complete sets the defaults, and says what can't be meant, all of it at once.
func (c *Config) complete() error {
	var errs []error
	if len(c.Notifiers) > maxNotifiers {
		errs = append(errs, fmt.Errorf("it has %d notifiers: at most %d are allowed", len(c.Notifiers), maxNotifiers))
	}
	names := map[string]bool{}
	for i, n := range c.Notifiers {
		if n == nil {
			errs = append(errs, fmt.Errorf("notifiers[%d] is empty", i))
			continue
		}
		if names[n.Name] {
			errs = append(errs, fmt.Errorf("notifiers[%d]: there is another one with the name %q", i, n.Name))
		}
		names[n.Name] = true
		for _, err := range n.complete() {
			errs = append(errs, fmt.Errorf("notifiers[%d] (%s): %w", i, n.Name, err))
		}
	}
	return errors.Join(errs...)
}

// Named returns the notifier with a name, or an error that names those that there are.
func (c *Config) Named(name string) (*Notifier, error) {
	names := make([]string, 0, len(c.Notifiers))
	for _, n := range c.Notifiers {
		if n.Name == name {
			return n, nil
		}
		names = append(names, n.Name)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("there is no notifier %q: the file has none", name)
	}
	return nil, fmt.Errorf("there is no notifier %q; there are %s", name, strings.Join(names, ", "))
}

func (n *Notifier) complete() []error {
	n.setDefaults()
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if why := validation.IsDNS1123Label(n.Name); len(why) > 0 {
		wrong("name is %q: use lower-case letters, digits and -, at most 63", n.Name)
	}
	if !slices.Contains(Shapes(), n.Shape) {
		wrong("shape is %q: it must be one of %v", n.Shape, Shapes())
	}
	errs = append(errs, n.checkTarget()...)
	errs = append(errs, n.checkMatch()...)
	for _, f := range []struct {
		name  string
		value Duration
		least time.Duration
		most  time.Duration
	}{
		{"uncalledAfter", n.UncalledAfter, time.Minute, 7 * 24 * time.Hour}, {"unwellAfter", n.UnwellAfter, 10 * time.Second, 24 * time.Hour},
		{"groupWait", n.GroupWait, time.Second, time.Hour},
	} {
		if d := time.Duration(f.value); d < f.least || d > f.most {
			wrong("%s is %s: it must be from %s to %s", f.name, d, f.least, f.most)
		}
	}
	if n.MaxPerHour < 1 || n.MaxPerHour > 3600 {
		wrong("maxPerHour is %d: it must be from 1 to 3600", n.MaxPerHour)
	}
	if err := n.parseTemplate(); err != nil {
		errs = append(errs, err)
	}
	return errs
}

func (n *Notifier) setDefaults() {
	setDuration := func(d *Duration, unset time.Duration) {
		if *d == 0 {
			*d = Duration(unset)
		}
	}
	setDuration(&n.UncalledAfter, defaultUncalledAfter)
	setDuration(&n.UnwellAfter, defaultUnwellAfter)
	setDuration(&n.GroupWait, defaultGroupWait)
	if n.MaxPerHour == 0 {
		n.MaxPerHour = defaultMaxPerHour
	}
	if len(n.Tell) == 0 {
		n.Tell = []notice.Kind{notice.NeedsPerson, notice.AgentFailed, notice.Unwell}
	}
}

// checkTarget checks where messages go.
func (n *Notifier) checkTarget() (errs []error) {
	switch {
	case (n.URL == "") == (n.URLFile == ""):
		errs = append(errs, errors.New("set one of url and urlFile"))
	case n.URL != "":
		if _, err := checkURL(n.URL); err != nil {
			errs = append(errs, fmt.Errorf("url %w", err))
		}
	}
	if len(n.Headers) > maxHeaders {
		errs = append(errs, fmt.Errorf("headers has %d: at most %d are allowed", len(n.Headers), maxHeaders))
	}
	for i, h := range n.Headers {
		switch {
		case h.Name == "" || strings.ContainsAny(h.Name, " :\r\n") || http.CanonicalHeaderKey(h.Name) == "Content-Length":
			errs = append(errs, fmt.Errorf("headers[%d].name is %q, which can't be set", i, h.Name))
		case (h.Value == "") == (h.ValueFile == ""):
			errs = append(errs, fmt.Errorf("headers[%d]: set one of value and valueFile", i))
		}
	}
	return errs
}

// checkURL does not quote what it refuses: the URL of a webhook is a secret.
func checkURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("is no URL: write it such as https://hooks.example.com/T0/B0")
	}
	return u, nil
}

func (n *Notifier) checkMatch() (errs []error) {
	for _, k := range n.Tell {
		if !slices.Contains(notice.Kinds(), k) {
			errs = append(errs, fmt.Errorf("tell has %q: it must be of %v", k, notice.Kinds()))
		}
	}
	for _, t := range n.Match.Types {
		if !slices.Contains(incident.EventTypes(), t) {
			errs = append(errs, fmt.Errorf("match.types has %q: it must be of %v", t, incident.EventTypes()))
		}
	}
	for _, h := range n.Match.Hooks {
		if namespace, name, ok := strings.Cut(h, "/"); !ok || namespace == "" || name == "" {
			errs = append(errs, fmt.Errorf("match.hooks has %q: write it as namespace/name", h))
		}
	}
	return errs
}

// wants says whether the notifier is told of it. What is about khook itself, and about no namespace, is not matched.
func (n *Notifier) wants(of *notice.Notice) bool {
	if !slices.Contains(n.Tell, of.Kind) {
		return false
	}
	if of.Kind == notice.Unwell {
		return true
	}
	m := &n.Match
	return (len(m.Namespaces) == 0 || slices.Contains(m.Namespaces, of.Namespace)) &&
		(len(m.Types) == 0 || slices.Contains(m.Types, of.Type)) &&
		(len(m.Hooks) == 0 || slices.Contains(m.Hooks, of.Hook.String()))
}
