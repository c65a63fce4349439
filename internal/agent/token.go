package agent

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/kagent-dev/khook/internal/incident"
)

// tokenError is a token file that can't be used.
type tokenError struct{ reason string }

func (e *tokenError) Error() string { return e.reason }

// maxToken bounds a token file.
const maxToken = 64 << 10

// readToken reads the bearer token. Its errors never tell what is in the file.
func readToken(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		if pathErr, ok := errors.AsType[*os.PathError](err); ok {
			err = pathErr.Err
		}
		return "", &tokenError{fmt.Sprintf("the token file %s for kagent can't be read: %v", path, err)}
	}
	defer func() { _ = file.Close() }()
	raw, err := io.ReadAll(io.LimitReader(file, maxToken+1))
	token := strings.TrimSpace(string(raw))
	switch {
	case err != nil:
		return "", &tokenError{fmt.Sprintf("the token file %s for kagent can't be read", path)}
	case token == "":
		return "", &tokenError{fmt.Sprintf("the token file %s for kagent is empty", path)}
	case len(raw) > maxToken || !httpguts.ValidHeaderFieldValue(token) || strings.ContainsAny(token, " \t"):
		return "", &tokenError{fmt.Sprintf("the token file %s for kagent holds something else than one token", path)}
	}
	return token, nil
}

// identity is as whom a request is made: the token, "" for none, and the user that kagent knows khook as. That is the user ID of the
// settings and, where there is a token, whom it is about. A token that is no JWT is known by a digest: with another one nobody knows
// whether it is the same user's.
func (c *Config) identity() (token, user string, err error) {
	if c.TokenFile == "" {
		return "", c.UserID, nil
	}
	if token, err = readToken(c.TokenFile); err != nil {
		return "", "", err
	}
	return token, c.UserID + " " + subjectOf(token), nil
}

func subjectOf(token string) string {
	var claims struct {
		Issuer  string `json:"iss"`
		Subject string `json:"sub"`
	}
	if parts := strings.Split(token, "."); len(parts) == 3 {
		raw, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err == nil && json.Unmarshal(raw, &claims) == nil && claims.Subject != "" {
			return incident.DeriveID("user", claims.Issuer, claims.Subject)
		}
	}
	return incident.DeriveID("token", token)
}
