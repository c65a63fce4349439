package cli

import (
	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/kagent-dev/khook/internal/server"
)

// openapiCmd is khook openapi.
type openapiCmd struct {
	JSON bool `name:"json" help:"As JSON rather than YAML."`
}

// Run prints the document that describes the HTTP API.
func (c openapiCmd) Run(env Env) error {
	s, err := server.New(server.Config{Version: server.DocumentVersion, Registry: prometheus.NewRegistry(), Log: logr.Discard()})
	if err != nil {
		return err
	}
	asYAML, asJSON, err := s.OpenAPI()
	if err != nil {
		return err
	}
	document := asYAML
	if c.JSON {
		document = asJSON
	}
	_, err = env.Out.Write(document)
	return err
}
