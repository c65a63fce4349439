package agent

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/kagent-dev/khook/internal/capacity"
)

// Config says where kagent is and who calls it; zero values take the defaults.
type Config struct {
	BaseURL     string            // default http://kagent-controller.kagent.svc.cluster.local:8083
	UserID      string            // sent as X-User-Id on every call; default admin@kagent.dev
	Headers     map[string]string // static further headers
	TokenFile   string            // bearer token, read for each call, so that a rotated one counts at once
	Timeout     time.Duration     // of one HTTP request, not of a task; default 30 s
	Dialect     string            // one of Dialects; found out per agent if empty
	MaxResponse int64             // bytes of one HTTP answer, which is shortened to that; default 2 MiB
	MaxNews     int64             // bytes of one event of a stream, see Follow; default 64 KiB

	ReceiveBytes int64 // bytes of all long answers that are received at the same time; default 4 times MaxResponse
	DecodeMemory int64 // bytes of memory that reading all answers may take at the same time; default 256 MiB

	// StreamIdle is how long a stream may be silent before it counts as broken; default 2 min.
	StreamIdle time.Duration
	// Transport carries the requests; default is one of the client's own.
	Transport http.RoundTripper
}

// DefaultBaseURL is where kagent's chart puts its controller.
const DefaultBaseURL = "http://kagent-controller.kagent.svc.cluster.local:8083"

func (c *Config) setDefaults() {
	if c.BaseURL == "" {
		c.BaseURL = DefaultBaseURL
	}
	if c.UserID == "" {
		c.UserID = "admin@kagent.dev"
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	if c.MaxResponse == 0 {
		c.MaxResponse = capacity.MaxAnswer
	}
	if c.MaxNews == 0 {
		c.MaxNews = min(capacity.MaxNews, c.MaxResponse)
	}
	if c.ReceiveBytes == 0 {
		c.ReceiveBytes = 4 * c.MaxResponse
	}
	if c.DecodeMemory == 0 {
		c.DecodeMemory = 256 << 20
	}
	if c.StreamIdle == 0 {
		c.StreamIdle = 2 * time.Minute
	}
}

// validate returns the base URL, or all that is wrong with the settings.
func (c *Config) validate() (*url.URL, error) {
	base, err := parseBase(c.BaseURL)
	errs := []error{err}
	if !httpguts.ValidHeaderFieldValue(c.UserID) {
		errs = append(errs, errors.New("the user ID has characters that no HTTP header can carry"))
	}
	for name, value := range c.Headers {
		errs = append(errs, checkHeader(name, value))
	}
	if c.Dialect != "" && !slices.Contains(Dialects(), c.Dialect) {
		errs = append(errs, fmt.Errorf("unknown dialect %q of kagent: use one of %s, or none to find out", c.Dialect, strings.Join(Dialects(), ", ")))
	}
	if c.Timeout < 0 || c.MaxResponse < 1024 || c.StreamIdle < 0 {
		errs = append(errs, errors.New("time limits can't be negative, and an answer must be allowed at least 1024 bytes"))
	}
	if c.TokenFile != "" {
		_, err := readToken(c.TokenFile)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("settings for kagent: %w", err)
	}
	return base, nil
}

func parseBase(raw string) (*url.URL, error) {
	base, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, errors.New("the URL of kagent can't be parsed: use one such as " + DefaultBaseURL)
	case base.Scheme != "http" && base.Scheme != "https", base.Host == "":
		return nil, fmt.Errorf("the URL of kagent must begin with http:// or https:// and name a host, such as %s", DefaultBaseURL)
	case base.User != nil:
		return nil, errors.New("the URL of kagent must not carry credentials: put a token into a file")
	case base.RawQuery != "" || base.Fragment != "":
		return nil, errors.New("the URL of kagent must have neither query nor fragment")
	}
	return base, nil
}

// reserved are headers that a setting must not touch: the client's own, and those with which
// Go's transport would take a call for one that may be repeated.
var reserved = map[string]string{
	"A2a-Version": "the dialect decides it", "Host": "the URL decides it", "X-User-Id": "use the user ID",
	"Content-Type": "the protocol decides it", "Content-Length": "the message decides it", "Accept": "the protocol decides it",
	"Idempotency-Key": "it would let a call be repeated", "X-Idempotency-Key": "it would let a call be repeated",
}

func checkHeader(name, value string) error {
	if why, ok := reserved[http.CanonicalHeaderKey(name)]; ok {
		return fmt.Errorf("header %s can't be set: %s", name, why)
	}
	if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
		return fmt.Errorf("header %q has a name or a value that HTTP can't carry", name)
	}
	return nil
}
