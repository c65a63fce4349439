package server

import (
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// Instant is a time that a query parameter may name, in RFC 3339. A parameter that is there always
// counts, whatever time it names: only an absent one means "no bound".
type Instant struct {
	time.Time
	isSet bool
}

// errNotATime is the error for what is no time in RFC 3339.
var errNotATime = errors.New("is no time: write it as RFC 3339 has it, such as 2026-01-15T10:30:00Z, and + as %2B")

// UnmarshalText implements encoding.TextUnmarshaler. RFC 3339 (section 5.6) lets T and Z be written in
// lower case, which time.Parse refuses.
func (i *Instant) UnmarshalText(text []byte) error {
	parsed, err := time.Parse(time.RFC3339, strings.ToUpper(string(text)))
	if err != nil {
		return errNotATime
	}
	i.Time, i.isSet = parsed, true
	return nil
}

// instantFormat is the format of instants while requests are checked: huma checks date-time by itself, and
// refuses lower case. completeDocument puts date-time in its place.
const instantFormat = "instant"

// Schema implements huma.SchemaProvider.
func (*Instant) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: instantFormat}
}

// bound is the instant for the store.
func (i Instant) bound() sql.Null[time.Time] { return sql.Null[time.Time]{V: i.Time, Valid: i.isSet} }
