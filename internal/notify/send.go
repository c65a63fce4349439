package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/kagent-dev/khook/internal/incident"
)

// Bounds of an attempt.
const (
	attemptLimit  = 10 * time.Second
	maxAnswer     = 16 << 10 // bytes of an answer that are read
	maxSecret     = 16 << 10 // bytes of a file with a URL or a header
	maxRetryAfter = time.Hour
)

// attemptError is why a receiver has not taken a message. It never has the URL or a header's value: both may be secrets.
type attemptError struct {
	why        string
	message    bool          // the receiver judged the message, and not who sends it or how it does
	retryAfter time.Duration // as the receiver wants it; 0 if it does not say
}

// Error implements error.
func (e *attemptError) Error() string { return e.why }

// sender sends to one receiver.
type sender struct {
	notifier *Notifier
	agent    string // User-Agent
	client   *http.Client
}

func newSender(n *Notifier, version string) (*sender, error) {
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, MaxIdleConns: 1, MaxConnsPerHost: 1, IdleConnTimeout: 30 * time.Second, TLSHandshakeTimeout: attemptLimit,
		MaxResponseHeaderBytes: maxAnswer, ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if n.CAFile != "" {
		pem, err := os.ReadFile(n.CAFile)
		if err != nil {
			return nil, fmt.Errorf("caFile: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("caFile %s has no certificate in PEM", n.CAFile)
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	return &sender{notifier: n, agent: "khook/" + version, client: &http.Client{
		Transport: transport, Timeout: attemptLimit,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // a header that is a secret goes nowhere else
	}}, nil
}

// send makes one attempt; nil if the receiver has taken the message.
func (s *sender) send(ctx context.Context, m *Message) *attemptError {
	body, contentType, err := s.notifier.body(m)
	if err != nil {
		return &attemptError{why: "the message can't be made: " + err.Error(), message: true}
	}
	request, secrets, err := s.request(ctx, m, body, contentType)
	if err != nil {
		return &attemptError{why: err.Error()}
	}
	answer, err := s.client.Do(request)
	if err != nil {
		return &attemptError{why: withoutURL(err)}
	}
	defer func() { _ = answer.Body.Close() }()
	said, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return &attemptError{why: "its answer broke off: " + withoutURL(err)}
	}
	return judge(s.notifier.Shape, answer, string(said), secrets)
}

// withoutURL is an error of the HTTP client without the URL, which it begins with.
func withoutURL(err error) string {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	if errors.Is(err, context.DeadlineExceeded) || os.IsTimeout(err) {
		return fmt.Sprintf("it did not answer within %s", attemptLimit)
	}
	return incident.Clean(err.Error(), 200)
}

// request is the message on its way; secrets must not be told.
func (s *sender) request(ctx context.Context, m *Message, body []byte, contentType string) (r *http.Request, secrets []string, err error) {
	n := s.notifier
	target := n.URL
	if n.URLFile != "" {
		if target, err = secret(n.URLFile); err != nil {
			return nil, nil, fmt.Errorf("urlFile: %w", err)
		}
	}
	u, err := checkURL(target)
	if err != nil {
		return nil, nil, fmt.Errorf("what is in urlFile %w", err)
	}
	if r, err = http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body)); err != nil {
		return nil, nil, errors.New("the URL can't be used")
	}
	secrets = []string{target, u.RequestURI(), u.Path}
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("User-Agent", s.agent)
	r.Header.Set("Idempotency-Key", m.ID)
	for i, h := range n.Headers {
		value := h.Value
		if h.ValueFile != "" {
			if value, err = secret(h.ValueFile); err != nil {
				return nil, nil, fmt.Errorf("headers[%d].valueFile: %w", i, err)
			}
		}
		if strings.ContainsAny(value, "\r\n\x00") {
			return nil, nil, fmt.Errorf("headers[%d] has a value of several lines", i)
		}
		r.Header.Set(h.Name, value)
		secrets = append(secrets, value)
		if _, credential, ok := strings.Cut(value, " "); ok {
			secrets = append(secrets, credential)
		}
	}
	return r, secrets, nil
}

// secret reads a file that has one.
func secret(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", err
	}
	if len(text) > maxSecret {
		return "", fmt.Errorf("%s has more than %d bytes", path, maxSecret)
	}
	if text = bytes.TrimSpace(text); len(text) == 0 {
		return "", fmt.Errorf("%s is empty", path)
	}
	return string(text), nil
}

// teamsLie is what Microsoft Teams' connectors say, with status 200, where they did not pass a message on.
const teamsLie = "Microsoft Teams endpoint returned HTTP error"

// judge says whether an answer means that the message was taken.
func judge(shape Shape, answer *http.Response, said string, secrets []string) *attemptError {
	kind, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	taken := answer.StatusCode >= 200 && answer.StatusCode < 300
	switch {
	case taken && kind == "text/html":
		return &attemptError{why: "a web page answered, and not the receiver: is there a login before it?"}
	case taken && shape == Teams && strings.Contains(said, teamsLie):
		return &attemptError{why: "Teams did not pass it on: " + quoted(said, secrets)}
	case taken:
		return nil
	case answer.StatusCode >= 300 && answer.StatusCode < 400:
		return &attemptError{why: fmt.Sprintf("it answered %d: redirects are not followed, set the URL that it leads to", answer.StatusCode)}
	}
	e := &attemptError{why: fmt.Sprintf("it answered %d %s", answer.StatusCode, http.StatusText(answer.StatusCode)), retryAfter: retryAfter(answer.Header.Get("Retry-After"))}
	switch answer.StatusCode {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		e.message = true
	}
	if text := quoted(said, secrets); text != "" && kind != "text/html" {
		e.why += ": " + text
	}
	return e
}

// quoted is the beginning of what a receiver said, without what it echoes of secrets.
func quoted(said string, secrets []string) string {
	for _, s := range secrets {
		if len(s) > 3 {
			said = strings.ReplaceAll(said, s, "***")
		}
	}
	return incident.Clean(said, 200)
}

// retryAfter reads the header, in seconds or as a time.
func retryAfter(text string) time.Duration {
	var wait time.Duration
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
		wait = time.Duration(min(seconds, int64(maxRetryAfter/time.Second))) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		wait = time.Until(at)
	}
	return max(0, min(wait, maxRetryAfter))
}
