package store

import (
	"cmp"
	"context"
	"slices"
)

// AcrossClusters reads a page of a list over several clusters: list reads that of one, and position says where a row is in the list's order.
//
// All clusters share the order: rows come by time, or by what the list is sorted by, and at the same time by IDs, which are unique among all
// clusters. So a position means the same in each of them, and a page that goes on after one is the first rows of all clusters' pages after it.
// Each is one query by the index of its list, bounded by the page; they are read one after the other, and no more rows are held than two pages have.
// Offset must be 0: it could only be done by reading all that is passed over, of each cluster.
func AcrossClusters[Q, R any](ctx context.Context, histories []*Reader, list func(*Reader, context.Context, Q, Paging) ([]*R, Total, error), q Q, p Paging, descending bool, position func(*R) []any) ([]*R, Total, error) {
	if len(histories) == 1 {
		return list(histories[0], ctx, q, p)
	}
	var merged []*R
	var total Total
	var reach []any // what one of the clusters was searched up to; behind it nothing is known yet
	order := func(a, b []any) int {
		if descending {
			a, b = b, a
		}
		return comparePositions(a, b)
	}
	for _, r := range histories {
		rows, of, err := list(r, ctx, q, p)
		if err != nil {
			return nil, Total{}, err
		}
		total.N += of.N
		total.AtLeast = total.AtLeast || of.AtLeast
		total.More = total.More || of.More
		if of.After != nil && (reach == nil || order(*of.After, reach) < 0) {
			reach = *of.After
		}
		merged = append(merged, rows...)
		slices.SortStableFunc(merged, func(a, b *R) int { return order(position(a), position(b)) })
		if len(merged) > p.Limit {
			clear(merged[p.Limit:])
			merged, total.More = merged[:p.Limit], true
		}
	}
	if reach != nil {
		known := len(merged)
		for known > 0 && order(position(merged[known-1]), reach) > 0 {
			known--
		}
		if known < len(merged) || len(merged) < p.Limit {
			merged, total.More, total.After = merged[:known], true, &reach
		}
	}
	if total.N > CountBound {
		total.N, total.AtLeast = CountBound, true
	}
	return merged, total, nil
}

// comparePositions compares two positions in an order that ascends. Texts compare by their bytes, as both engines compare them.
func comparePositions(a, b []any) int {
	for i := range min(len(a), len(b)) {
		var c int
		switch x := a[i].(type) {
		case int64:
			y, _ := b[i].(int64)
			c = cmp.Compare(x, y)
		case string:
			y, _ := b[i].(string)
			c = cmp.Compare(x, y)
		}
		if c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}
