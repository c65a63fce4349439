package agent

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/net/http/httpguts"
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
