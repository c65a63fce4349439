package store

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kagent-dev/khook/internal/store/engine"
)

// CountBound is how far the rows of a list are counted: of more, the total is a lower bound. So a
// page never costs the scan of a long history.
const CountBound = 1000

// Paging selects one page of a list.
type Paging struct {
	Limit  int // at least 1
	Offset int // rows passed over, beside those before After
	// After is the position of the last row of the page before; nil for the first page.
	After []any
	// Count says whether the rows are to be counted.
	Count bool
}

// Total is how many rows a list has: exact up to CountBound, else a lower bound.
type Total struct {
	N       int
	AtLeast bool
	More    bool   // there are rows after the page
	After   *[]any // where to go on, if it is not after the last row of the page; see ScanBound
}

// listing is a query of one table with filters, an order and a page. The order is by columns that
// never change, the last of which is unique: so a page that goes on after a row shows no row twice
// and leaves none out, whatever is written meanwhile.
type listing struct {
	what, columns, from string
	engine              engine.Engine
	countFrom           string   // instead of from, if the conditions need no more
	order               []string // columns, all in one direction
	descending          bool
	conditions          []string
	args                []any
	searches            []string // conditions that no index helps with, on ScanBound rows of those that the others select
	searchArgs          []any
}

// search adds a condition that no index helps with.
func (l *listing) search(condition string, args ...any) {
	l.searches = append(l.searches, condition)
	l.searchArgs = append(l.searchArgs, args...)
}

// where adds a condition.
func (l *listing) where(condition string, args ...any) {
	l.conditions = append(l.conditions, condition)
	l.args = append(l.args, args...)
}

// equal adds a condition on a column unless value is empty. Where another index is the better one,
// the column is written so that no index of its own is used.
func (l *listing) equal(column, value string, byIndex bool) {
	if value == "" {
		return
	}
	if !byIndex {
		column = l.engine.NoIndex(column)
	}
	l.where(column+" = ?", value)
}

// beginsWith adds that a column of hexadecimal digits and hyphens begins with prefix, unless that is empty: a range, for
// which the column's index is used.
func (l *listing) beginsWith(column, prefix string) {
	if prefix != "" {
		l.where(column+" >= ? AND "+column+" < ?", prefix, prefix+"g")
	}
}

// between adds a range of times, from from on and before to, each if it is valid.
func (l *listing) between(column string, from, to sql.Null[time.Time], byIndex bool) {
	if !byIndex {
		column = l.engine.NoIndex(column)
	}
	if from.Valid {
		l.where(column+" >= ?", from.V.UnixMicro())
	}
	if to.Valid {
		l.where(column+" < ?", to.V.UnixMicro())
	}
}

// page is the query of one page.
func (l *listing) page(p Paging) (string, []any) {
	from, order, args := l.scanned(p.After)
	query := "SELECT " + l.columns + from + whereAll(l.searches) + order + " LIMIT ? OFFSET ?"
	return query, append(append(args, l.searchArgs...), p.Limit+1, p.Offset) // one more, to know whether there are more
}

// scanned is the part of a query that says from which rows, and the order. What is searched is a subquery with a limit.
func (l *listing) scanned(after []any) (from, order string, args []any) {
	direction, beyond := "", ">"
	if l.descending {
		direction, beyond = " DESC", "<"
	}
	conditions := l.conditions
	args = slices.Clone(l.args)
	if after != nil {
		conditions = append(slices.Clip(conditions),
			fmt.Sprintf("(%s) %s (%s)", strings.Join(l.order, ", "), beyond, placeholders(len(l.order))))
		args = append(args, after...)
	}
	from = " FROM " + l.from + whereAll(conditions)
	order = " ORDER BY " + strings.Join(l.order, direction+", ") + direction
	if len(l.searches) > 0 {
		from, args = " FROM (SELECT "+l.columns+from+order+" LIMIT ?) AS found", append(args, ScanBound)
	}
	return from, order, args
}

// end is the query of the last row that is searched, if there are as many as are searched at all.
func (l *listing) end(after []any) (string, []any) {
	from, order, args := l.scanned(after)
	return "SELECT " + strings.Join(l.order, ", ") + from + order + " LIMIT 1 OFFSET ?", append(args, ScanBound-1)
}

// count is the query of the total.
func (l *listing) count() (string, []any) {
	if len(l.searches) > 0 {
		from, _, args := l.scanned(nil)
		return "SELECT count(*) FROM (SELECT 1" + from + whereAll(l.searches) + " LIMIT ?) AS counted", append(append(args, l.searchArgs...), CountBound+1)
	}
	return "SELECT count(*) FROM (SELECT 1 FROM " + cmp.Or(l.countFrom, l.from) + whereAll(l.conditions) + " LIMIT ?) AS counted",
		append(slices.Clip(l.args), CountBound+1)
}

func whereAll(conditions []string) string {
	if len(conditions) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(conditions, " AND ")
}

// pageOf reads one page, and the total if it is asked for. The statements are not kept: filters can
// be combined in many ways.
func pageOf[T any](ctx context.Context, r *Reader, l *listing, p Paging, scan func(scanner) (T, error)) ([]T, Total, error) {
	text, args := l.page(p)
	items, err := readAll(ctx, r.handle, l.what, scan, text, args...)
	if err != nil {
		return nil, Total{}, err
	}
	more := len(items) > p.Limit
	if more {
		items = items[:p.Limit]
	}
	if len(l.searches) > 0 {
		return searched(ctx, r, l, p, items, more)
	}
	switch {
	case !p.Count:
		return items, Total{More: more}, nil
	case !more && p.After == nil && (len(items) > 0 || p.Offset == 0):
		return items, Total{N: p.Offset + len(items)}, nil
	}
	text, args = l.count()
	counted, err := readAll(ctx, r.handle, "how many "+l.what+" there are", scanNumber, text, args...)
	if err != nil {
		return nil, Total{}, err
	}
	n := int(counted[0])
	return items, Total{N: min(n, CountBound), AtLeast: n > CountBound, More: more}, nil
}

// searched is a page of what was searched for, with where to go on: a page that is not full is the last one only if all rows
// were looked at.
func searched[T any](ctx context.Context, r *Reader, l *listing, p Paging, items []T, more bool) ([]T, Total, error) {
	position := func(row scanner) (at []any, err error) {
		var seen int64
		var id string
		err = row.Scan(&seen, &id)
		return []any{seen, id}, err
	}
	ends := func(after []any) ([][]any, error) {
		text, args := l.end(after)
		return readAll(ctx, r.handle, "where the search for "+l.what+" ended", position, text, args...)
	}
	total := Total{More: more, N: p.Offset + len(items)}
	if !more {
		end, err := ends(p.After)
		if err != nil {
			return nil, Total{}, err
		}
		if len(end) > 0 {
			total.More, total.After, total.AtLeast = true, &end[0], true
		}
	}
	if !p.Count || p.After == nil && !more && p.Offset == 0 {
		return items, total, nil
	}
	text, args := l.count()
	counted, err := readAll(ctx, r.handle, "how many "+l.what+" there are", scanNumber, text, args...)
	if err != nil {
		return nil, Total{}, err
	}
	first, err := ends(nil)
	if err != nil {
		return nil, Total{}, err
	}
	total.N, total.AtLeast = min(int(counted[0]), CountBound), counted[0] > CountBound || len(first) > 0
	return items, total, nil
}
