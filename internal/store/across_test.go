package store

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// listed is a row of a list, with whether a search would find it.
type listed struct {
	at    int64
	id    string
	found bool
}

func (r *listed) position() []any { return []any{r.at, r.id} }

// fakeLists are lists of several clusters, each in its order; a search looks at bound rows for a page.
type fakeLists struct {
	rows       map[*Reader][]*listed
	bound      int
	descending bool
}

func (f *fakeLists) order(a, b []any) int {
	if f.descending {
		a, b = b, a
	}
	return comparePositions(a, b)
}

// list answers as a list of the store does, with a search.
func (f *fakeLists) list(r *Reader, _ context.Context, _ string, p Paging) (page []*listed, total Total, err error) {
	looked := 0
	var last *listed
	for _, row := range f.rows[r] {
		if p.After != nil && f.order(row.position(), p.After) <= 0 {
			continue
		}
		if looked == f.bound {
			break
		}
		looked, last = looked+1, row
		if row.found {
			if len(page) == p.Limit {
				return page, Total{More: true}, nil
			}
			page = append(page, row)
		}
	}
	if looked == f.bound {
		at := last.position()
		total = Total{More: true, After: &at}
	}
	return page, total, nil
}

// TestPagesOverClustersLeaveNothingOut: whatever the clusters have, how large a page is and how far a search looks, the pages one after the
// other have each row that is found once, in the order of all of them.
func TestPagesOverClustersLeaveNothingOut(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := &fakeLists{rows: map[*Reader][]*listed{}, bound: rapid.IntRange(1, 9).Draw(rt, "bound"), descending: rapid.Bool().Draw(rt, "descending")}
		var histories []*Reader
		var want []*listed
		for c := range rapid.IntRange(2, 4).Draw(rt, "clusters") {
			r := &Reader{}
			histories = append(histories, r)
			for i := range rapid.IntRange(0, 12).Draw(rt, "rows") {
				row := &listed{rapid.Int64Range(0, 5).Draw(rt, "at"), fmt.Sprintf("%d-%d", i, c), rapid.Bool().Draw(rt, "found")}
				f.rows[r] = append(f.rows[r], row)
				if row.found {
					want = append(want, row)
				}
			}
			slices.SortFunc(f.rows[r], func(a, b *listed) int { return f.order(a.position(), b.position()) })
		}
		slices.SortFunc(want, func(a, b *listed) int { return f.order(a.position(), b.position()) })
		p := Paging{Limit: rapid.IntRange(1, 5).Draw(rt, "limit")}
		var got []*listed
		for range 200 {
			page, total, err := AcrossClusters(t.Context(), histories, f.list, "", p, f.descending, (*listed).position)
			if err != nil || len(page) > p.Limit {
				rt.Fatalf("%d rows, %v", len(page), err)
			}
			got = append(got, page...)
			if !total.More {
				break
			}
			if p.After = nil; total.After != nil {
				p.After = *total.After
			} else {
				p.After = page[len(page)-1].position()
			}
		}
		if !slices.Equal(got, want) {
			rt.Fatalf("the pages have %v, and there is %v", got, want)
		}
	})
}
