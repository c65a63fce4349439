package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/api"
)

// Lists of Hooks are written Hook by Hook: together they can be as large as etcd, and one is at most
// what Kubernetes takes.

// exportAll answers with manifests that kubectl apply takes.
func (s *Server) exportAll(hooks []v1alpha2.Hook) *huma.StreamResponse {
	return s.writeEach(yamlType, len(hooks), func(w io.Writer, i int) error {
		text, err := manifest(&hooks[i])
		if err != nil {
			return err
		}
		if i > 0 {
			text = append([]byte("---\n"), text...)
		}
		_, err = w.Write(text)
		return err
	}, "")
}

// hooksPage answers with a page, whose items are the Hooks.
func (s *Server) hooksPage(ctx context.Context, page api.Page[api.Hook], hooks []v1alpha2.Hook) (*huma.StreamResponse, error) {
	around, err := json.Marshal(page)
	if err != nil {
		return nil, err
	}
	before, after, found := bytes.Cut(around, []byte("[]"))
	if !found {
		return nil, fmt.Errorf("a page without items: %s", around)
	}
	statistics, err := s.statisticsOf(ctx, hooks...) // what can fail comes before the first byte
	if err != nil {
		return nil, err
	}
	pauses, err := s.pausesOf(ctx)
	if err != nil {
		return nil, err
	}
	return s.writeEach("application/json", len(hooks), func(w io.Writer, i int) error { //nolint:contextcheck // of the answer
		shaped := shapeOf(&hooks[i])
		shaped.Statistics, shaped.Paused = statistics[i], pauseFor(&hooks[i], pauses)
		text, err := json.Marshal(shaped)
		if err != nil {
			return err
		}
		start := ","
		if i == 0 {
			start = string(before) + "["
		}
		_, err = w.Write(append([]byte(start), text...))
		return err
	}, emptyOr(len(hooks), string(before)+"[", "")+"]"+string(after)+"\n"), nil
}

func emptyOr(n int, empty, other string) string {
	if n == 0 {
		return empty
	}
	return other
}

// writeEach answers with n pieces, which are made one after the other, and an end.
func (s *Server) writeEach(contentType string, n int, write func(w io.Writer, i int) error, end string) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		ctx.SetHeader("Content-Type", contentType)
		w := ctx.BodyWriter()
		for i := range n {
			if ctx.Context().Err() != nil {
				panic(http.ErrAbortHandler) // the client must not take what it has for the whole
			}
			if err := write(w, i); err != nil {
				s.cfg.Log.V(1).Info("a list of Hooks was not written to its end", "request", requestID(ctx.Context()), "reason", err.Error())
				panic(http.ErrAbortHandler)
			}
		}
		_, _ = io.WriteString(w, end)
	}}
}
