package review

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// MaxToken bounds a bearer token, in bytes.
const MaxToken = 16 << 10

// Bearer is the bearer token of an Authorization header, as the API server would find it; false if
// there is none, or what there is can't be one: it is too long, or has bytes that no header may have.
func Bearer(header string) (token string, ok bool) {
	scheme, rest, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	token, _, _ = strings.Cut(rest, " ")
	return token, token != "" && len(token) <= MaxToken && httpguts.ValidHeaderFieldValue(token)
}

// Claims are what a token says of itself, if it is a JSON Web Token. Nothing of it is proven: whoever
// sends a token can write anything into it. So it may say who waits before whom, and nothing else.
type Claims struct {
	Issuer    string // with the ID of the key that it names
	Subject   string
	Audiences []string
	ends      time.Time // zero if it does not say
	begins    time.Time
}

// ReadClaims reads a token; false if it is no JSON Web Token.
func ReadClaims(token string) (Claims, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 || parts[2] == "" {
		return Claims{}, false
	}
	var header struct {
		Alg string `json:"alg"`
		Kid string `json:"kid"`
	}
	var body struct {
		Iss string  `json:"iss"`
		Sub string  `json:"sub"`
		Aud any     `json:"aud"`
		Exp float64 `json:"exp"`
		Nbf float64 `json:"nbf"`
	}
	if !decode(parts[0], &header) || !decode(parts[1], &body) || header.Alg == "" || strings.EqualFold(header.Alg, "none") {
		return Claims{}, false
	}
	return Claims{Issuer: body.Iss + "\x00" + header.Kid, Subject: body.Sub, Audiences: audiences(body.Aud), ends: numericDate(body.Exp), begins: numericDate(body.Nbf)}, true
}

func decode(part string, into any) bool {
	text, err := base64.RawURLEncoding.DecodeString(part)
	return err == nil && json.Unmarshal(text, into) == nil
}

// audiences reads a claim that is a text or a list of texts.
func audiences(claim any) (all []string) {
	switch claim := claim.(type) {
	case string:
		return []string{claim}
	case []any:
		for _, one := range claim {
			if text, ok := one.(string); ok {
				all = append(all, text)
			}
		}
	}
	return all
}

// numericDate reads a time of RFC 7519.
func numericDate(seconds float64) time.Time {
	if seconds <= 0 || seconds > 1<<40 {
		return time.Time{}
	}
	return time.Unix(int64(seconds), 0)
}

// skew is how wrong a clock may be.
const skew = time.Minute

// Ends is when the token claims to end; zero if it does not say.
func (c Claims) Ends() time.Time { return c.ends }

// Current says whether the token claims to be valid now.
func (c Claims) Current(now time.Time) bool {
	return !c.ends.IsZero() && now.Before(c.ends.Add(skew)) && !now.Before(c.begins.Add(-skew))
}
