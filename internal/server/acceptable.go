package server

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/munnerz/goautoneg"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/stream"
)

// produces are the content types of the routes that have others than JSON.
var produces = map[string][]string{
	api.Base + "/hooks":                    {"application/json", "application/yaml"},
	api.Base + "/hooks/{namespace}/{name}": {"application/json", "application/yaml"},
	api.Base + "/metrics":                  {"text/plain", "application/openmetrics-text", "application/vnd.google.protobuf"},
	api.Base + "/openapi.yaml":             {"application/yaml", "text/yaml", "application/vnd.oai.openapi"},
	streamPath:                             {stream.ContentType},
	api.Base + "/openapi.json":             {"application/json", "application/vnd.oai.openapi+json"},
}

// maxFields bounds the fields of a request's header: each takes a hundred bytes, however short it is, and a
// stream keeps them for as long as it lasts.
const maxFields = 128

// fewFields refuses a request whose header has so many fields that it takes many times its bytes.
func fewFields(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fields := 0
		for _, values := range r.Header {
			fields += len(values)
		}
		if fields > maxFields {
			if r.ProtoMajor == 1 {
				w.Header().Set("Connection", "close")
			}
			writeProblem(w, http.StatusRequestHeaderFieldsTooLarge, fmt.Sprintf("the header has %d fields: send at most %d", fields, maxFields))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// maxAccept bounds the header Accept, in bytes. Reading thousands of types takes milliseconds.
const maxAccept = 2048

// acceptable refuses what the route can't answer with.
func acceptable(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		types := produces[routeOf(r.Context())]
		if types == nil {
			types = []string{"application/json", problemType}
		}
		accept := r.Header.Get("Accept")
		if len(accept) > maxAccept { // it is read before it is known who calls
			writeProblem(w, http.StatusNotAcceptable, fmt.Sprintf("the header Accept is longer than %d bytes: name fewer types", maxAccept))
			return
		}
		if accept != "" && (!stream.IsUpgrade(r) || r.URL.Path != streamPath) && !strings.HasPrefix(r.URL.Path, "/debug/") && negotiate(accept, types) == "" {
			writeProblem(w, http.StatusNotAcceptable, "this route answers with "+strings.Join(types, " or ")+hiddenNamespace(r.URL.Path))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hiddenNamespace says how to ask for the events of the namespace that can't be named in the path.
func hiddenNamespace(route string) string {
	if route != streamPath {
		return ""
	}
	return "; for the events of a namespace with the name stream ask " + api.Base + "/events?namespace=stream"
}

// negotiate is the type that an Accept header likes best; "" if it takes none.
func negotiate(accept string, types []string) string {
	var liked []string
	for _, clause := range goautoneg.ParseAccept(accept) {
		if clause.Q > 0 {
			liked = append(liked, fmt.Sprintf("%s/%s;q=%g", clause.Type, clause.SubType, clause.Q))
		}
	}
	return goautoneg.Negotiate(strings.Join(liked, ","), types)
}

// wellFormed refuses queries that can't be read, or that name a parameter twice.
func wellFormed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			writeProblem(w, http.StatusBadRequest, "the query can't be read: escape special characters, such as + as %2B ("+err.Error()+")")
			return
		}
		for _, name := range slices.Sorted(maps.Keys(query)) {
			if len(query[name]) > 1 {
				writeProblem(w, http.StatusBadRequest, "query parameter "+incident.Clean(name, 64)+": it is there more than once; keep one")
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// ownOrigin refuses what a page of another site lets a browser do, where being able to reach khook, or a session in that
// browser, may be all that it takes. A WebSocket is asked for by GET, and any page may open one: it is no mere reading, since
// nothing keeps what it says from that page.
func (s *Server) ownOrigin(next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	if s.external != nil { // a proxy may have put another name into the header Host
		if err := protection.AddTrustedOrigin(s.external.Scheme + "://" + s.external.Host); err != nil {
			panic(err) // of a URL that was checked
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked := r
		if stream.IsUpgrade(r) {
			asked = &http.Request{Method: http.MethodPost, Header: r.Header, Host: r.Host, URL: r.URL}
		}
		if err := protection.Check(asked); err != nil {
			writeProblemOf(w, crossOrigin, http.StatusForbidden, "pages of other sites may not change anything here, nor open a WebSocket")
			return
		}
		next.ServeHTTP(w, r)
	})
}
