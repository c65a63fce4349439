package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/prometheus/common/model"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/api/client"
)

// listFlags select and order the items of a list.
type listFlags struct {
	Namespace string     `short:"n" help:"Only this namespace; all if empty." placeholder:"NS"`
	Since     string     `help:"Only what is younger than this, such as 2h or 7d." placeholder:"DURATION" group:"Time"`
	Start     *time.Time `help:"From this time on (RFC 3339)." format:"2006-01-02T15:04:05Z07:00" group:"Time" placeholder:"TIME"`
	End       *time.Time `help:"Before this time (RFC 3339)." format:"2006-01-02T15:04:05Z07:00" group:"Time" placeholder:"TIME"`
	Limit     int        `help:"How many to show." default:"50"`
	All       bool       `help:"Show all, up to --max."`
	Max       int        `help:"How many --all shows at most." default:"10000"`
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
	return checkLimits(f.Limit, f.Max)
}

func checkLimits(limit, most int) error {
	if limit < 1 || most < 1 {
		return errors.New("--limit and --max must be at least 1")
	}
	return nil
}

// query is what the flags ask for.
func (f *listFlags) query(now time.Time) url.Values {
	q := url.Values{}
	set(q, "namespace", f.Namespace)
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
	least bool // total is a lower bound
	more  bool // there are more than the items
}

// list follows the pages as far as the flags say.
func list[T any](ctx context.Context, c *client.Client, path string, query url.Values, f *listFlags) (*foundList[T], error) {
	want := f.Limit
	if f.All {
		want = f.Max
	}
	all := &foundList[T]{raw: []json.RawMessage{}}
	for {
		query.Set("limit", strconv.Itoa(min(want-len(all.items), maxPage)))
		page, _, err := client.Fetch[api.Page[json.RawMessage]](ctx, c, path, query)
		if err != nil {
			return nil, err
		}
		if len(all.items) == 0 {
			all.total, all.least = page.Total, page.TotalIsLowerBound
		}
		for _, text := range page.Items {
			var item T
			if err := json.Unmarshal(text, &item); err != nil {
				return nil, fmt.Errorf("khook's answer can't be read (is it another version?): %w", err)
			}
			all.items, all.raw = append(all.items, item), append(all.raw, text)
		}
		if all.more = page.Next != ""; !all.more || len(all.items) >= want {
			return all, nil
		}
		query.Set("cursor", page.Next)
	}
}

// print shows a list, and on the other stream how much of it that is.
func (l *foundList[T]) print(env Env, p *display, what string, header, wide []string, row func(T) (cells, more []string)) error {
	if !p.forPeople() {
		return p.raw(l.raw)
	}
	if len(l.items) == 0 {
		_, err := fmt.Fprintf(env.Err, "No %s found.\n", what)
		return err
	}
	rows := make([][]string, len(l.items))
	for i, item := range l.items {
		cells, more := row(item)
		if rows[i] = cells; p.form == "wide" {
			rows[i] = append(cells, more...)
		}
	}
	if p.form == "wide" {
		header = append(header, wide...)
	}
	if err := p.table(header, rows); err != nil {
		return err
	}
	if !l.more {
		return nil
	}
	least := ""
	if l.least {
		least = "more than "
	}
	_, err := fmt.Fprintf(env.Err, "%d of %s%d; show more with --limit or --all\n", len(l.items), least, l.total)
	return err
}
