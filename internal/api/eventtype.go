package api

import (
	"github.com/danielgtaylor/huma/v2"

	"github.com/kagent-dev/khook/internal/incident"
)

// EventType is an incident.EventType whose schema lists all of them.
type EventType incident.EventType

// Schema implements huma.SchemaProvider.
func (EventType) Schema(huma.Registry) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeString}
	for _, t := range incident.EventTypes() {
		s.Enum = append(s.Enum, string(t))
	}
	return s
}
