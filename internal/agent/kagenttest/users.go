package kagenttest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
)

// defaultUser is who a caller is that does not say.
const defaultUser = "admin@kagent.dev"

type userKey struct{}

// callerOf is whom kagent takes the caller of a request for.
func callerOf(ctx context.Context) string {
	name, _ := ctx.Value(userKey{}).(string)
	return name
}

// userOf is whom kagent takes the caller for: behind a trusted proxy the subject of its token, which kagent reads and does not check;
// "" if there is none.
func (s *Server) userOf(r *http.Request) string {
	if s.opts.TrustedProxy {
		return subject(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	}
	if user := r.URL.Query().Get("user_id"); user != "" && strings.HasPrefix(r.URL.Path, "/api/") {
		return user
	}
	if user := r.Header.Get("X-User-Id"); user != "" {
		return user
	}
	return defaultUser
}

func subject(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	var claims struct {
		Subject string `json:"sub"`
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(raw, &claims) != nil {
		return ""
	}
	return claims.Subject
}

// TokenFor is a token about a user, as a proxy or Kubernetes would give it; nobody signed it.
func TokenFor(user string) string {
	part := func(v map[string]string) string {
		raw, _ := json.Marshal(v) //nolint:errchkjson // of strings
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	return part(map[string]string{"alg": "none"}) + "." + part(map[string]string{"iss": "https://issuer.example", "sub": user}) + ".none"
}
