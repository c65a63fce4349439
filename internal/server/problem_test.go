package server

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

func TestTheErrorsOfAnotherAPIInTheProcessStayAsTheyAre(t *testing.T) {
	mux := http.NewServeMux()
	other := humago.New(mux, huma.DefaultConfig("other", "v1"))
	ask := func() string {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/count?n=many", nil))
		return w.Result().Status + "\n" + w.Body.String()
	}
	huma.Get(other, "/count", func(context.Context, *struct {
		N int `query:"n"`
	}) (*struct{}, error) {
		return nil, nil //nolint:nilnil // it is not reached
	})
	newFixture(t)
	if got := ask(); !strings.HasPrefix(got, "422 ") || !strings.Contains(got, `"detail":"validation failed"`) || strings.Contains(got, "khook") {
		t.Errorf("it answers %s", got)
	}
	if model, ok := huma.Error404NotFound("nothing").(*huma.ErrorModel); !ok || model.Type != "" {
		t.Errorf("an error that it makes is %+v", model)
	}
}
