package cli

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/api/client"
	"github.com/kagent-dev/khook/internal/incident"
)

// dashboardCmd is khook dashboard.
type dashboardCmd struct {
	Port      int  `help:"Port of the loopback address to serve the page on; any that is free if 0." default:"0" placeholder:"PORT"`
	NoBrowser bool `name:"no-browser" help:"Print the address of the page, and open no browser."`
	connectionFlags
}

// Help is shown below the flags.
func (dashboardCmd) Help() string {
	return `The page asks khook as you: with the credentials of the kube context, which stay in this process and never get into the browser. ` +
		`Its address has a secret in it, which keeps other people on this machine and other pages out: it is a key, so do not pass it on. Ctrl-C ends it.`
}

// Run serves the page until ctx ends.
func (c *dashboardCmd) Run(ctx context.Context, env Env) error {
	if c.Port < 0 || c.Port > 65535 {
		return wrongUsage("--port is %d: it must be from 0 to 65535", c.Port)
	}
	tunnel, err := client.NewTunnel(ctx, client.Options(c.connectionFlags))
	if err != nil {
		return err
	}
	defer tunnel.Close()
	who, err := greet(ctx, tunnel)
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", fmt.Sprint(c.Port)))
	if err != nil {
		return fmt.Errorf("listen for the browser: %w; --port takes another port", err)
	}
	d := newDashboard(listener.Addr().String(), tunnel)
	srv := &http.Server{Handler: d, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(listener) }()
	defer srv.Close() // streams never end by themselves
	fmt.Fprintf(env.Out, "The dashboard%s is at\n\n  %s\n\nuntil you press Ctrl-C.\n", who, d.url())
	if !c.NoBrowser {
		if err := openBrowser(ctx, d.link()); err != nil {
			fmt.Fprintf(env.Err, "khook: no browser could be opened (%v): open the address yourself\n", err)
		}
	}
	select {
	case err := <-failed:
		return err
	case <-d.stolen:
		return errors.New("the link for the browser was opened twice: somebody else on this machine may have been first, so the page was closed. Start again with --no-browser, and open the address yourself")
	case <-ctx.Done():
		return nil
	}
}

// greet says as whom the page is shown; an error says why khook does not answer.
func greet(ctx context.Context, tunnel http.RoundTripper) (string, error) {
	remote := client.New("http://khook", "", tunnel, 30*time.Second)
	me, _, err := client.Fetch[api.Me](ctx, remote, "/me", nil)
	if err != nil || me.Name == "" {
		return "", err
	}
	return " of " + incident.Clean(me.Name, maxCell), nil
}

// dashboard is the page as one browser sees it: khook behind a secret, with a person's credentials.
//
// Everybody on the machine can connect to the loopback address, and every page in a browser can make that browser do so. What
// keeps them out: the secret, which is a part of each path, so that no cookie goes to other ports of this machine; the header
// Host, which a page can't choose, so that no name can be made to stand for the address (DNS rebinding); and the origin of
// what changes something and of WebSockets.
type dashboard struct {
	address string // 127.0.0.1 and the port
	secret  string
	once    string // opens the page one time
	proxy   *httputil.ReverseProxy
	origins *http.CrossOriginProtection

	mu     sync.Mutex
	opened bool          // the link was followed
	stolen chan struct{} // closed when it is followed again
}

func newDashboard(address string, tunnel http.RoundTripper) *dashboard {
	return &dashboard{
		address: address, secret: rand.Text(), once: rand.Text(), origins: http.NewCrossOriginProtection(), stolen: make(chan struct{}),
		proxy: &httputil.ReverseProxy{
			Transport: tunnel, ErrorLog: log.New(io.Discard, "", 0),
			Rewrite: func(p *httputil.ProxyRequest) {
				p.Out.URL.Scheme, p.Out.URL.Host = "http", "khook" // the tunnel says where that is
				for name := range p.Out.Header {
					if name == "Cookie" || name == "Authorization" || name == "Origin" || name == "Referer" || strings.HasPrefix(name, "Sec-Fetch-") {
						p.Out.Header.Del(name) // they are about this address, and were looked at here
					}
				}
			},
			ModifyResponse: func(r *http.Response) error {
				r.Header.Del("Set-Cookie")
				r.Header.Set("Referrer-Policy", "no-referrer") // the secret is in the address
				return nil
			},
			ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
				if r.Context().Err() == nil {
					refuse(w, http.StatusBadGateway, "khook can't be reached now: "+incident.Clean(err.Error(), maxCell))
				}
			},
		},
	}
}

func (d *dashboard) url() string  { return "http://" + d.address + "/" + d.secret + "/" }
func (d *dashboard) link() string { return "http://" + d.address + "/open/" + d.once }

// ServeHTTP implements http.Handler.
func (d *dashboard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !slices.Contains([]string{d.address, strings.Replace(d.address, "127.0.0.1", "localhost", 1)}, r.Host) {
		refuse(w, http.StatusMisdirectedRequest, "this page is at "+d.address+" only")
		return
	}
	first, rest, below := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")
	switch {
	case first == "open" && below && same(rest, d.once):
		d.open(w, r)
	case !same(first, d.secret):
		refuse(w, http.StatusNotFound, "open the address that khook dashboard printed: it has a key in it")
	case !below:
		http.Redirect(w, r, "/"+d.secret+"/", http.StatusPermanentRedirect)
	default:
		d.serve(w, r)
	}
}

// same compares without telling by the time that it takes how much of a guess is right.
func same(guess, secret string) bool {
	return subtle.ConstantTimeCompare([]byte(guess), []byte(secret)) == 1
}

// open leads the browser to the page, once. Other people on the machine can see with what a browser was started: so the link is of
// no use twice, and who was not the first learns of it.
func (d *dashboard) open(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		refuse(w, http.StatusMethodNotAllowed, "the link is to be opened")
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.opened {
		select {
		case <-d.stolen:
		default:
			close(d.stolen)
		}
		refuse(w, http.StatusGone, "this link was opened already, maybe by somebody else on this machine: see what khook dashboard says")
		return
	}
	d.opened = true
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, "/"+d.secret+"/", http.StatusSeeOther)
}

// serve passes on what comes from the page itself.
func (d *dashboard) serve(w http.ResponseWriter, r *http.Request) {
	asked := r
	if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") { // any page may open one
		asked = &http.Request{Method: http.MethodPost, Header: r.Header, Host: r.Host, URL: r.URL}
	}
	if err := d.origins.Check(asked); err != nil {
		refuse(w, http.StatusForbidden, "pages of other sites may not change anything here, nor open a WebSocket")
		return
	}
	http.StripPrefix("/"+d.secret, d.proxy).ServeHTTP(w, r)
}

// refuse answers with a problem document, as khook does.
func refuse(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"title": http.StatusText(status), "status": status, "detail": detail})
}

// openBrowser opens an address in the person's browser, and does not wait for it.
func openBrowser(ctx context.Context, address string) error {
	program, args := "xdg-open", []string{address}
	switch runtime.GOOS {
	case "darwin":
		program = "open"
	case "windows":
		program, args = "rundll32", []string{"url.dll,FileProtocolHandler", address}
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), program, args...)
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }()
	return nil
}
