package postgres

import (
	"strconv"
	"strings"
	"sync"
)

// bindings are the queries that were written with numbered placeholders. Most are asked for again and again.
type bindings struct {
	mu    sync.Mutex
	known map[string]string
}

// maxBindings bounds what is kept: filters can be combined in many ways.
const maxBindings = 1000

// Bind implements engine.Engine.
func (e *Engine) Bind(query string) string {
	e.binds.mu.Lock()
	defer e.binds.mu.Unlock()
	if bound, ok := e.binds.known[query]; ok {
		return bound
	}
	if e.binds.known == nil || len(e.binds.known) >= maxBindings {
		e.binds.known = map[string]string{}
	}
	bound := numbered(query)
	e.binds.known[query] = bound
	return bound
}

// numbered writes ? as $1, $2, ..., but for those in quotes.
func numbered(query string) string {
	var b strings.Builder
	n, quote := 0, byte(0)
	for i := range len(query) {
		c := query[i]
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '\'' || c == '"'):
			quote = c
		case quote == 0 && c == '?':
			n++
			b.WriteString("$" + strconv.Itoa(n))
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}
