package server

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/store"
)

// Paging are the parameters of every list.
type Paging struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"50" doc:"The most items of the page." example:"20"`
	Offset int    `query:"offset" minimum:"0" maximum:"10000" default:"0" doc:"Items to pass over. For more than 10,000 follow the cursors; what is written meanwhile moves offsets, but not cursors."`
	Cursor string `query:"cursor" maxLength:"2048" doc:"The next of the page before: goes on after its last item. The other parameters must be the same."`
}

// Window is a range of time.
type Window struct {
	StartTime Instant `query:"startTime" doc:"From this time on (RFC 3339)." example:"2024-01-01T00:00:00Z"`
	EndTime   Instant `query:"endTime" doc:"Before this time (RFC 3339)." example:"2100-01-01T00:00:00Z"`
}

func (w Window) check() error {
	if w.StartTime.isSet && w.EndTime.isSet && !w.StartTime.Before(w.EndTime.Time) {
		return wrongParameter("endTime", w.EndTime.Format(time.RFC3339), "must be after startTime")
	}
	return nil
}

// cursor is where a page ended.
type cursor struct {
	Query uint64 `json:"q"` // what the list is of: a cursor is no use to another one
	After []any  `json:"a"` // the position of its last item
}

// queryHash stands for a query without its page.
func queryHash(query any) uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%+v", query)
	return h.Sum64()
}

// page turns the parameters into those of the store. width is how many values a position has.
func (p Paging) page(query any, width int) (store.Paging, error) {
	page := store.Paging{Limit: p.Limit, Offset: p.Offset, Count: true}
	if p.Cursor == "" {
		return page, nil
	}
	if p.Offset != 0 {
		return page, wrongParameter("offset", p.Offset, "can't be used with cursor: the cursor says where to go on")
	}
	c, err := readCursor(p.Cursor)
	if err != nil || len(c.After) != width {
		return page, wrongParameter("cursor", nil, "this is no cursor: take next of the page before, as it is")
	}
	if c.Query != queryHash(query) {
		return page, wrongParameter("cursor", nil, "it belongs to a list with other filters or another order: repeat those, or leave out the cursor")
	}
	page.After = c.After
	return page, nil
}

func readCursor(text string) (cursor, error) {
	var c cursor
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return c, err
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&c); err != nil {
		return c, err
	}
	for i, v := range c.After {
		switch v := v.(type) {
		case json.Number:
			if c.After[i], err = v.Int64(); err != nil {
				return c, err
			}
		case string:
		default:
			return c, fmt.Errorf("a position with %T", v)
		}
	}
	return c, nil
}

func writeCursor(query any, after []any) string {
	raw, err := json.Marshal(cursor{queryHash(query), after})
	if err != nil {
		return "" // positions are texts and numbers
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// listing is a list as one of its routes answers it: of rows of the history, by a query that they have positions in.
type listing[Q, R, T any] struct {
	clusters  ClusterFilter
	namespace string // that is asked about; empty: all
	window    Window
	paging    Paging
	query     func() (Q, error) // of the parameters
	rows      func(*store.Reader, context.Context, Q, store.Paging) ([]*R, store.Total, error)
	position  func(Q, *R) []any // of a row in the order of the query, for the cursor (keyset pagination)
	falling   func(Q) bool      // whether the order descends
	shape     func(row *R, now time.Time) T
}

// ofClusters is the query of a list of which clusters were named.
type ofClusters struct {
	query    any
	clusters []string
}

// listPage answers with a page of a list. The parameters are looked at only once it is known that the caller may read there.
func listPage[Q, R, T any](ctx context.Context, s *Server, l listing[Q, R, T]) (page api.Page[T], err error) {
	views, err := s.views(ctx, l.clusters, l.namespace)
	if err != nil {
		return page, err
	}
	if err := l.window.check(); err != nil {
		return page, err
	}
	q, err := l.query()
	if err != nil {
		return page, err
	}
	position := func(row *R) []any { return l.position(q, row) }
	var query any = q
	if len(l.clusters.Clusters) > 0 {
		query = ofClusters{q, l.clusters.Clusters}
	}
	p, err := l.paging.page(query, len(position(new(R))))
	if err != nil {
		return page, err
	}
	if p.Offset > 0 && len(views) > 1 {
		return page, wrongParameter("offset", p.Offset, "can't be used with several clusters: follow the cursors, or name one (cluster=...)")
	}
	rows, total, err := store.AcrossClusters(ctx, readersOf(views), l.rows, q, p, l.falling(q), position)
	if err != nil {
		return page, s.storeError(ctx, err)
	}
	now := time.Now() // the same for all rows, and not before any of them
	return pageOf(l.paging, rows, total, query, position, func(row *R) T { return l.shape(row, now) }), nil
}

// pageOf is the answer with a page of rows.
func pageOf[R, T any](p Paging, rows []R, total store.Total, query any, position func(R) []any, shape func(R) T) api.Page[T] {
	page := api.Page[T]{Items: make([]T, 0, len(rows)), Total: total.N, TotalIsLowerBound: total.AtLeast, Limit: p.Limit, Offset: p.Offset}
	for _, row := range rows {
		page.Items = append(page.Items, shape(row))
	}
	switch {
	case total.After != nil:
		page.Next = writeCursor(query, *total.After)
	case total.More:
		page.Next = writeCursor(query, position(rows[len(rows)-1]))
	}
	return page
}
