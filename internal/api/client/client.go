package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/conns"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/redact"
	"github.com/kagent-dev/khook/internal/skew"
)

// Options say how the HTTP API of a running khook is reached. They are named as the flags of the command line
// are, and the errors name these.
type Options struct {
	Server                string        // URL of khook's HTTP API, such as http://127.0.0.1:8082; through the current kube context if empty.
	Token                 string        // Bearer token; that of the kube context if empty and --server is not set.
	TokenFile             string        // File with the bearer token.
	CAFile                string        // Certificates in PEM that the server's is checked against, rather than the system's.
	TLSServerName         string        // Name that the server's certificate is checked for; that of --server or of khook's Service if empty.
	InsecureSkipTLSVerify bool          // Do not check the server's certificate.
	AllowPlainHTTP        bool          // Send the token without TLS also to what is not the loopback address.
	Kubeconfig            string        // Kubeconfig of the cluster that khook runs in.
	Context               string        // Context of the kubeconfig; the current one if empty.
	As                    string        // Whom to ask as, instead of who the kube context is: a ServiceAccount, or with Token anybody.
	AsGroup               []string      // Groups of As.
	KhookNamespace        string        // Namespace of khook's Service.
	KhookService          string        // Name of khook's Service.
	ViaAPIServer          bool          // Through the API server's proxy for Services, instead of a port that is forwarded.
	Timeout               time.Duration // How long an answer may take.
}

// Client asks the HTTP API.
type Client struct {
	base, token string
	proxied     bool // through the API server's proxy, which has the header Authorization for itself
	http        *http.Client
	skew        *skew.Meter
	Close       func()
}

// maxReply bounds an answer, in bytes.
const maxReply = 64 << 20

// Connect finds the API: at Server, or through a port that is forwarded to a Pod of khook's Service. The client is to
// be closed. The errors say what to change.
func Connect(ctx context.Context, o Options) (*Client, error) {
	token, err := o.token()
	if err != nil {
		return nil, err
	}
	if o.Server == "" {
		return o.throughCluster(ctx, token)
	}
	if o.ViaAPIServer {
		return nil, errors.New("--via-api-server is a way through the kube context, which --server does not go through: use one of them (KHOOK_SERVER may be set)")
	}
	if o.As != "" || len(o.AsGroup) > 0 {
		return nil, errors.New("--as and --as-group are about the kube context, which --server does not go through: pass a token of whom you ask as (--token)")
	}
	base, err := url.Parse(o.Server)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return nil, fmt.Errorf("--server is %q: write it as http://HOST:PORT or https://HOST:PORT", redact.URL(o.Server))
	}
	if token != "" && base.Scheme == "http" && !conns.IsLoopback(base.Hostname()) && !o.AllowPlainHTTP {
		return nil, fmt.Errorf("the token would go to %s without TLS, for all on the way to read: use https, or add --allow-plain-http", base.Host)
	}
	transport, err := o.transport()
	if err != nil {
		return nil, err
	}
	return New(strings.TrimSuffix(base.String(), "/"), token, transport, o.Timeout), nil
}

func (o *Options) token() (string, error) {
	if o.Token != "" || o.TokenFile == "" {
		return o.Token, nil
	}
	text, err := os.ReadFile(o.TokenFile)
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// New returns a client of the API at a base URL without a slash at its end, with a bearer token unless it is empty.
func New(base, token string, transport http.RoundTripper, timeout time.Duration) *Client {
	meter := &skew.Meter{}
	if transport == nil { // as with http.Client
		transport = http.DefaultTransport
	}
	return &Client{base: base, token: token, skew: meter, Close: func() {}, http: &http.Client{
		Transport: meter.Wrap(transport), Timeout: timeout,
		// A redirect would take the token elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// ClockAhead is how far this machine's clock is ahead of khook's, and how exact that is; false before an answer.
func (c *Client) ClockAhead() (ahead, within time.Duration, known bool) { return c.skew.Ahead() }

// Get reads what a path below /api/v1 answers.
func (c *Client) Get(ctx context.Context, path string, query url.Values) ([]byte, error) {
	return c.ask(ctx, http.MethodGet, path, query, nil)
}

// ask sends a request, with a JSON body if there is one, and returns the answer's body.
func (c *Client) ask(ctx context.Context, method, path string, query url.Values, send []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+api.Base+path, bytes.NewReader(send))
	if err != nil {
		return nil, err
	}
	if len(send) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	req.URL.RawQuery = query.Encode()
	c.identify(req)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask khook: %w%s", shownError{withoutURL(err)}, unreachable(err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err != nil {
		return nil, fmt.Errorf("read khook's answer: %w", shownError{err})
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, &StatusError{explainReply(resp, body), resp.StatusCode, resp.Header.Get("Content-Type"), body}
	}
	return body, nil
}

// identify says with a request who sends it.
func (c *Client) identify(req *http.Request) {
	switch {
	case c.token == "":
	case c.proxied:
		req.Header.Set(api.TokenHeader, c.token)
	default:
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
}

// Post sends a JSON body, which may be nil, to a path below /api/v1.
func (c *Client) Post(ctx context.Context, path string, body any) ([]byte, error) {
	text := []byte("")
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	return c.ask(ctx, http.MethodPost, path, nil, text)
}

// Health asks for the health, whose answer is one also with 503.
func (c *Client) Health(ctx context.Context) ([]byte, error) {
	raw, err := c.Get(ctx, "/health", nil)
	var refused *StatusError
	if errors.As(err, &refused) && refused.status == http.StatusServiceUnavailable && refused.contentType == "application/json" {
		return refused.body, nil
	}
	return raw, err
}

// StatusError is an answer that is no success.
type StatusError struct {
	error
	status      int
	contentType string
	body        []byte
}

// Status is the HTTP status of the answer.
func (e *StatusError) Status() int { return e.status }

// unreachable says what to do where there is no connection.
func unreachable(err error) string {
	var network *net.OpError
	if errors.As(err, &network) && network.Op == "dial" {
		return "; does khook run, and is --server its address?"
	}
	return ""
}

// withoutURL leaves the URL out of an error of net/http: it is long, and the cause is behind it.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// explainReply says what an answer that is no success means, and what to do.
func explainReply(resp *http.Response, body []byte) error {
	detail, status := problemText(body), incident.Clean(resp.Status, maxStatus)
	switch {
	case detail == "" && statusText(body) != "": // it did not get as far as khook
		return fmt.Errorf("the API server answered: %s", statusText(body))
	case resp.StatusCode == http.StatusUnauthorized:
		why := ""
		if strings.HasPrefix(detail, "the bearer token") {
			why = " (" + detail + ")"
		}
		return fmt.Errorf("khook does not know who you are: pass %s%s", tokenCommand(detail), why)
	case resp.StatusCode == http.StatusForbidden && detail == "":
		return fmt.Errorf("you may not read this (%s): ask for a narrower -n NAMESPACE, or for the right to read Hooks there", status)
	case resp.StatusCode == http.StatusBadRequest && strings.Contains(string(body), "HTTP request to an HTTPS server"):
		return fmt.Errorf("%s speaks TLS: set --server to https://%s", resp.Request.URL.Host, resp.Request.URL.Host)
	case resp.StatusCode/100 == 3:
		return fmt.Errorf("%s is elsewhere: set --server to %s", resp.Request.URL.Host, incident.Clean(resp.Header.Get("Location"), incident.MaxMessage))
	case detail == "":
		return fmt.Errorf("khook answered %s; is --server the address of its HTTP API?", status)
	}
	return errors.New(inFlags(detail))
}

// maxStatus bounds the status line that is shown, in bytes.
const maxStatus = 100

// problemText is what a problem document (RFC 9457) says: its detail, and of each wrong parameter its
// name and what it accepts, where the detail does not say so already. It is empty if body is none.
func problemText(body []byte) string {
	var problem struct {
		Detail string
		Errors []struct{ Location, Message string }
	}
	if json.Unmarshal(body, &problem) != nil {
		return ""
	}
	var parts []string
	if len(problem.Errors) == 0 || problem.Detail != "validation failed" {
		parts = append(parts, problem.Detail)
	}
	for _, e := range problem.Errors {
		if e.Message != "" && !strings.Contains(problem.Detail, e.Message) {
			parts = append(parts, strings.Replace(e.Location, "query.", "query parameter ", 1)+": "+e.Message)
		}
	}
	return incident.Clean(strings.Join(parts, "; "), incident.MaxMessage)
}

// statusText is what a Status of the API server says; empty if body is none.
func statusText(body []byte) string {
	var status struct{ Kind, Message string }
	if json.Unmarshal(body, &status) != nil || status.Kind != "Status" {
		return ""
	}
	return incident.Clean(status.Message, incident.MaxMessage)
}

// shownError is an error with words of the other side in it, such as names in its certificate: they
// are to be read, not obeyed by the terminal.
type shownError struct{ error }

func (e shownError) Error() string { return incident.Clean(e.error.Error(), incident.MaxMessage) }

// Unwrap keeps the cause.
func (e shownError) Unwrap() error { return e.error }

// Fetch asks and decodes.
func Fetch[T any](ctx context.Context, c *Client, path string, query url.Values) (into T, raw json.RawMessage, err error) {
	raw, err = c.Get(ctx, path, query)
	if err != nil {
		return into, nil, err
	}
	if err := json.Unmarshal(raw, &into); err != nil {
		return into, nil, fmt.Errorf("khook's answer can't be read (is it another version?): %w", err)
	}
	return into, raw, nil
}
