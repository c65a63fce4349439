package server

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kagent-dev/khook/internal/conns"
	"github.com/kagent-dev/khook/internal/review"
)

// A session is a bearer token in cookies, and nothing else: khook keeps nothing of it, so that any replica
// answers and a restart ends none. A browser keeps some 4 KiB in a cookie, and tokens can be longer.
const (
	sessionCookie = "khook-session"
	chunkBytes    = 3800
	maxChunks     = 5
	sessionLimit  = 12 * time.Hour
)

// tokenForm is what a bearer token consists of (RFC 6750, section 2.1), all of which a cookie can hold.
var tokenForm = regexp.MustCompile(`^[A-Za-z0-9\-._~+/]+=*$`)

// loginCookies are what the cookies of a request say.
type loginCookies struct {
	token  string // empty if there are no cookies, or if they do not make one
	ends   time.Time
	broken bool // there are cookies, and they do not make a session, or it has ended
}

// sent says whether the request has cookies of a session at all.
func (s loginCookies) sent() bool { return s.broken || !s.ends.IsZero() }

// site is how a browser reached khook, by which its cookies are named and bounded.
type site struct {
	secure bool   // by TLS, which may have ended at a trusted proxy
	local  bool   // from this machine, under a name of it
	path   string // below which khook is, with a slash at its end
}

// siteOf says how the browser that sent a request reached khook. That it is local must be true at both ends: a proxy on
// this machine serves others, and a request from elsewhere can name any host.
func (s *Server) siteOf(r *http.Request, path string) site {
	from, known := parseAddress(r.RemoteAddr)
	return site{
		secure: r.TLS != nil || known && s.origins.trusts(from) && proxiedByTLS(r),
		local:  known && from.IsLoopback() && conns.IsLoopback(hostOf(r.Host)),
		path:   path,
	}
}

// proxiedByTLS says whether the proxies of a request say that the client spoke TLS, all the way that they tell of. Only
// the word of a trusted proxy counts.
func proxiedByTLS(r *http.Request) bool {
	protocols := strings.Split(strings.Join(r.Header.Values("X-Forwarded-Proto"), ","), ",")
	if len(r.Header.Values("X-Forwarded-Proto")) == 0 {
		protocols = forwardedPairs(strings.Join(r.Header.Values("Forwarded"), ","), "proto")
	}
	return len(protocols) > 0 && !slices.ContainsFunc(protocols, func(p string) bool { return !strings.EqualFold(strings.TrimSpace(p), "https") })
}

// mayHoldToken says whether a token may go between the browser and khook.
func (p site) mayHoldToken() bool { return p.secure || p.local }

// cookie is the name of the cookies. With a prefix a browser takes them over TLS only, and with __Host- from this very host
// only: a neighbor, such as another name of the same domain, can't put a session of its own in the place of a person's.
func (p site) cookie() string {
	switch {
	case p.secure && p.path == "/":
		return "__Host-" + sessionCookie
	case p.secure:
		return "__Secure-" + sessionCookie
	}
	return sessionCookie
}

func (p site) chunk(i int, value string, maxAge int) http.Cookie {
	return http.Cookie{ //nolint:gosec // Secure is left out on the loopback address only
		Name: p.cookie() + "." + strconv.Itoa(i), Value: value, Path: p.path, MaxAge: maxAge,
		HttpOnly: true, Secure: p.secure, SameSite: http.SameSiteStrictMode,
	}
}

// clear takes the cookies from an index on away.
func (p site) clear(from int) (all []http.Cookie) {
	for i := from; i < maxChunks; i++ {
		all = append(all, p.chunk(i, "", -1))
	}
	return all
}

// cookies are those of a session: what is left of a longer one before is cleared first. The first chunk says how many there
// are, so that one that got lost is noticed, and when the session ends.
func (p site) cookies(token string, ends, now time.Time) []http.Cookie {
	chunks := slices.Collect(slices.Chunk([]byte(token), chunkBytes))
	all := p.clear(len(chunks))
	for i, chunk := range chunks {
		value := string(chunk)
		if i == 0 {
			value = fmt.Sprintf("%d.%d.%s", len(chunks), ends.Unix(), value)
		}
		all = append(all, p.chunk(i, value, max(1, int(ends.Sub(now)/time.Second))))
	}
	return all
}

// session reads the cookies of a request. Where no token may go none is taken, and neither is one that could be another
// one: two cookies of one name are two sessions, of which one is not the person's.
func (p site) session(r *http.Request, now time.Time) loginCookies {
	if !p.mayHoldToken() {
		return loginCookies{}
	}
	chunks := map[string]string{}
	for _, c := range r.Cookies() {
		index, ours := strings.CutPrefix(c.Name, p.cookie()+".")
		if !ours {
			continue
		}
		if _, twice := chunks[index]; twice {
			return loginCookies{broken: true}
		}
		chunks[index] = c.Value
	}
	if len(chunks) == 0 {
		return loginCookies{}
	}
	return joined(chunks, now)
}

// joined is the session of some chunks, by their index.
func joined(chunks map[string]string, now time.Time) loginCookies {
	broken := loginCookies{broken: true}
	count, rest, _ := strings.Cut(chunks["0"], ".")
	until, token, _ := strings.Cut(rest, ".")
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 || n > maxChunks || n != len(chunks) {
		return broken
	}
	ends, err := strconv.ParseInt(until, 10, 64)
	if err != nil || ends <= now.Unix() || ends > now.Add(sessionLimit+time.Minute).Unix() {
		return broken
	}
	for i := 1; i < n; i++ {
		chunk, ok := chunks[strconv.Itoa(i)]
		if !ok {
			return broken
		}
		token += chunk
	}
	if len(token) > review.MaxToken || !tokenForm.MatchString(token) {
		return broken
	}
	return loginCookies{token: token, ends: time.Unix(ends, 0).UTC()}
}

// sessionEnd is when a session of a token ends.
func sessionEnd(token string, now time.Time) time.Time {
	end := now.Add(sessionLimit)
	if claims, ok := review.ReadClaims(token); ok && !claims.Ends().IsZero() && claims.Ends().Before(end) {
		end = claims.Ends()
	}
	return end.UTC().Truncate(time.Second)
}
