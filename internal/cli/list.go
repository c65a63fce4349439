package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/api/client"
)

// namespaceFlags say which namespace is meant.
type namespaceFlags struct {
	Namespace     string `short:"n" complete:"namespaces" help:"Only this namespace; all if empty." placeholder:"NS"`
	AllNamespaces bool   `short:"A" help:"All namespaces, as without --namespace."`
}

// Validate checks what kong can't.
func (f *namespaceFlags) Validate() error {
	if f.AllNamespaces && f.Namespace != "" {
		return errors.New("--all-namespaces and --namespace contradict each other: use one of them")
	}
	return nil
}

// query is what the flags ask for.
func (f *namespaceFlags) query() url.Values {
	q := url.Values{}
	set(q, "namespace", f.Namespace)
	return q
}

// clusterFlags say which clusters are meant.
type clusterFlags struct {
	Clusters []string `name:"cluster" help:"Only these clusters, of those that the khook which is asked serves; all of them that you may read if empty." placeholder:"NAME,..."`
}

// ask adds what the flags ask for.
func (f *clusterFlags) ask(q url.Values) {
	set(q, "cluster", strings.Join(f.Clusters, ","))
}

// listFlags select and order the items of a list.
type listFlags struct {
	namespaceFlags
	clusterFlags
	namedItems
	Since string     `help:"Only what is younger than this, such as 2h or 7d." placeholder:"DURATION" group:"Time"`
	Start *time.Time `help:"From this time on (RFC 3339)." format:"2006-01-02T15:04:05Z07:00" group:"Time" placeholder:"TIME"`
	End   *time.Time `help:"Before this time (RFC 3339)." format:"2006-01-02T15:04:05Z07:00" group:"Time" placeholder:"TIME"`
	Limit int        `help:"How many to show." default:"50"`
	All   bool       `help:"Show all, up to --max."`
	Max   int        `help:"How many --all shows at most." default:"10000"`

	mustExist string // the path of what a list is about: where that is not there, the list is not empty but wrong
}

const maxPage = 1000 // items that the API answers with at once

// Validate checks what kong can't.
func (f *listFlags) Validate() error {
	_, err := model.ParseDuration(f.Since)
	switch {
	case f.Since != "" && err != nil:
		return fmt.Errorf("--since is %q: write it such as 30m, 2h or 7d", f.Since)
	case f.Since != "" && f.Start != nil:
		return errors.New("--since and --start both say where to begin: use one of them")
	}
	return errors.Join(f.namespaceFlags.Validate(), checkLimits(f.Limit, f.Max))
}

func checkLimits(limit, most int) error {
	if limit < 1 || most < 1 {
		return errors.New("--limit and --max must be at least 1")
	}
	return nil
}

// query is what the flags ask for.
func (f *listFlags) query(now time.Time) url.Values {
	q := f.namespaceFlags.query()
	f.ask(q)
	start := f.Start
	if d, err := model.ParseDuration(f.Since); err == nil && f.Since != "" {
		since := now.Add(-time.Duration(d))
		start = &since
	}
	if start != nil {
		q.Set("startTime", start.UTC().Format(time.RFC3339))
	}
	if f.End != nil {
		q.Set("endTime", f.End.UTC().Format(time.RFC3339))
	}
	return q
}

func set(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}

// foundList is what a list has.
type foundList[T any] struct {
	items []T
	raw   []json.RawMessage
	total int
	least bool   // total is a lower bound
	more  bool   // there are more than the items
	where string // the namespace that was looked in; empty for all
	order string // in which the items are, if that is not the API's; they were selected by its own
}

// list follows the pages as far as the flags say.
func list[T any](ctx context.Context, c *client.Client, path string, query url.Values, f *listFlags) (*foundList[T], error) {
	return listKept(ctx, c, path, query, f, func(*T) bool { return true })
}

// listKept is list of what is kept of the items. What is looked through for them is bounded as --all is.
func listKept[T any](ctx context.Context, c *client.Client, path string, query url.Values, f *listFlags, keep func(*T) bool) (*foundList[T], error) {
	want, looked, dropped, over := f.Limit, 0, 0, false
	if f.All {
		want = f.Max
	}
	all := &foundList[T]{raw: []json.RawMessage{}, where: query.Get("namespace")}
	for {
		page := min(want-len(all.items), maxPage)
		if dropped > 0 { // they are rare: large pages are fewer
			page = min(f.Max-looked, maxPage)
		}
		query.Set("limit", strconv.Itoa(page))
		found, _, err := client.Fetch[api.Page[json.RawMessage]](ctx, c, path, query)
		if err != nil {
			return nil, err
		}
		if looked == 0 {
			all.total, all.least = found.Total, found.TotalIsLowerBound
		}
		for _, text := range found.Items {
			var item T
			if err := json.Unmarshal(text, &item); err != nil {
				return nil, fmt.Errorf("khook's answer can't be read (is it another version?): %w", err)
			}
			looked++
			switch {
			case !keep(&item):
				dropped++
			case len(all.items) < want:
				all.items, all.raw = append(all.items, item), append(all.raw, text)
			default:
				over = true
			}
		}
		if all.more = over || found.Next != ""; found.Next == "" || len(all.items) >= want || dropped > 0 && looked >= f.Max {
			if dropped > 0 {
				all.total, all.least = len(all.items), all.more
			}
			return all, nil
		}
		query.Set("cursor", found.Next)
	}
}

// shape is how things of a kind are shown.
type shape[T any] struct {
	plural  string // such as incidents
	listed  string // the path where the API lists them, if that is not named after them
	kind    string // of their names, such as incident
	name    func(*T) string
	columns []tableColumn[T] // the last has the message
	spare   []string         // those that are left out first where there is no room for all
	cluster func(*T) string  // of which one it is; nil where all are of one
	several bool             // they are of several clusters, which need a column
	within  bool             // all are of one namespace, which was asked for: it needs no column
	keep    func(*T) bool    // which of the items are asked for, if the API can't tell them apart; nil for all

	orders   []order[T] // which a list can have
	selected string     // which ones the API selects where there are more, if not the newest

	// Of incidents, which are also known by what they are about.
	owners  map[string]string // kinds by what people call them
	subject func(*T) *api.Subject
}

// path is where the API lists them.
func (s *shape[T]) path() string { return cmp.Or(s.listed, "/"+s.plural) }

// tableColumn is a column of a table.
type tableColumn[T any] struct {
	name string
	wide bool // it is shown in -o wide only
	cell func(*display, *T) string
}

// namespaceColumn is the header of the column that says in which namespace something is.
const namespaceColumn = "NAMESPACE"

// clusterColumn is the header of the column that says of which cluster something is; it is there where there are several.
const clusterColumn = "CLUSTER"

// ofSeveral says whether items are of more than one cluster.
func (s *shape[T]) ofSeveral(items []T) bool {
	for i := range items {
		if s.cluster != nil && s.cluster(&items[i]) != s.cluster(&items[0]) {
			return true
		}
	}
	return false
}

// shown are the columns that a form has.
func (s *shape[T]) shown(p *display) (header []string, cells func(*T) []string) {
	var columns []tableColumn[T]
	for _, c := range s.columns {
		if c.name == clusterColumn && !s.several {
			continue
		}
		if p.form == "wide" || !c.wide && (!s.within || c.name != namespaceColumn) {
			columns, header = append(columns, c), append(header, c.name)
		}
	}
	return header, func(item *T) []string {
		row := make([]string, len(columns))
		for i, c := range columns {
			row[i] = c.cell(p, item)
		}
		return row
	}
}

// print shows a list, and on the other stream how much of it that is.
func (s *shape[T]) print(env Env, p *display, l *foundList[T]) error {
	switch {
	case p.form == nameForm:
		for i := range l.items {
			if err := p.name(s.kind, s.name(&l.items[i])); err != nil {
				return err
			}
		}
		return nil
	case !p.forPeople():
		return p.raw(l.raw)
	case len(l.items) == 0 && l.more:
		_, err := fmt.Fprintf(env.Err, "No %s found among the newest that were looked through; --max looks through more.\n", s.plural)
		return err
	case len(l.items) == 0:
		within := ""
		if l.where != "" { // which may be misspelled
			within = " in namespace " + l.where
		}
		_, err := fmt.Fprintf(env.Err, "No %s found%s.\n", s.plural, within)
		return err
	}
	s.several = s.several || s.ofSeveral(l.items)
	header, cells := s.shown(p)
	rows := make([][]string, len(l.items))
	for i := range l.items {
		rows[i] = cells(&l.items[i])
	}
	if err := p.table(header, rows, s.spare...); err != nil || !l.more {
		return err
	}
	least := ""
	if l.least {
		least = "more than "
	}
	which := ""
	if l.order != "" {
		which = ", " + cmp.Or(s.selected, "the newest")
	}
	_, err := fmt.Fprintf(env.Err, "%d of %s%d%s; show more with --limit or --all\n", len(l.items), least, l.total, which)
	return err
}
