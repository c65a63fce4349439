package server

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// completeDocument makes the OpenAPI document say what the routes really answer, where huma's defaults
// do not. It may run more than once.
func completeDocument(doc *huma.OpenAPI) {
	strict := map[string]bool{}
	for _, path := range doc.Paths {
		for _, op := range []*huma.Operation{path.Get, path.Post, path.Delete} {
			if op == nil {
				continue
			}
			completeErrors(op)
			completeParameters(op)
			if op.RequestBody != nil {
				for _, content := range op.RequestBody.Content {
					closedSchemas(doc.Components.Schemas, content.Schema, strict)
				}
			}
		}
	}
	for name, schema := range doc.Components.Schemas.Map() {
		if closed, ok := schema.AdditionalProperties.(bool); ok && !closed && !strict[name] {
			schema.AdditionalProperties = nil // answers may get new fields
		}
	}
}

func completeParameters(op *huma.Operation) {
	for _, p := range op.Parameters {
		if p.Schema.Format == instantFormat {
			documented := *p.Schema // requests are checked by the other one
			documented.Format = "date-time"
			p.Schema = &documented
		}
	}
}

// everywhere are the errors of every route that huma does not know of: they are answered before it is asked.
var everywhere = []int{http.StatusMethodNotAllowed, http.StatusMisdirectedRequest, http.StatusRequestHeaderFieldsTooLarge}

// ofBodies are those of routes that take a body.
var ofBodies = []int{http.StatusRequestTimeout, http.StatusRequestEntityTooLarge}

// completeErrors documents these like the other errors, and drops 422: what does not fit the parameters is
// answered with 400.
func completeErrors(op *huma.Operation) {
	delete(op.Responses, fmt.Sprint(http.StatusUnprocessableEntity))
	like := op.Responses[fmt.Sprint(http.StatusBadRequest)]
	if like == nil {
		return
	}
	further := everywhere
	if op.Method == http.MethodPost {
		further = slices.Concat(everywhere, ofBodies)
	}
	for _, code := range further {
		op.Responses[fmt.Sprint(code)] = &huma.Response{Description: http.StatusText(code), Content: like.Content}
	}
}

// closedSchemas collects the schemas that a request body consists of: unknown fields in them are errors.
func closedSchemas(all huma.Registry, schema *huma.Schema, found map[string]bool) {
	if schema == nil {
		return
	}
	if name := schema.Ref[strings.LastIndex(schema.Ref, "/")+1:]; name != "" {
		if found[name] {
			return
		}
		found[name] = true
		schema = all.SchemaFromRef(schema.Ref)
	}
	closedSchemas(all, schema.Items, found)
	for _, property := range schema.Properties {
		closedSchemas(all, property, found)
	}
}
