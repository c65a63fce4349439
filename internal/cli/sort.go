package cli

import (
	"net/url"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// order is one that a list can have.
type order[T any] struct {
	name    string
	compare func(a, b *T) int // nil if it is the API's own
}

// sorted puts what was found into an order, whose name may have a - before it, unless the API has done so.
func (s *shape[T]) sorted(l *foundList[T], name string) {
	ascending, descending := strings.CutPrefix(name, "-")
	at := slices.IndexFunc(s.orders, func(o order[T]) bool { return o.name == ascending })
	if at < 0 || s.orders[at].compare == nil {
		return
	}
	indexes := make([]int, len(l.items))
	for i := range indexes {
		indexes[i] = i
	}
	slices.SortStableFunc(indexes, func(a, b int) int {
		c := s.orders[at].compare(&l.items[a], &l.items[b])
		if descending {
			return -c
		}
		return c
	})
	items, raw := slices.Clone(l.items), slices.Clone(l.raw)
	for to, from := range indexes {
		l.items[to], l.raw[to] = items[from], raw[from]
	}
	l.order = name
}

// asksFor has the API put a list into an order, if it has that one.
func (s *shape[T]) asksFor(q url.Values, name string) {
	for _, o := range s.orders {
		if o.compare == nil && o.name == strings.TrimPrefix(name, "-") {
			q.Set("sort", name)
		}
	}
}

// orderNames are the values of --sort-by, and a text about them.
func orderNames[T any](s *shape[T]) (values, prose string) {
	var names, all []string
	for _, o := range s.orders {
		names, all = append(names, o.name), append(all, o.name, "-"+o.name)
	}
	last := len(names) - 1
	return strings.Join(all, ","), strings.Join(names[:last], ", ") + " or " + names[last]
}

// orderVariables are what the flags --sort-by can be, for their tags.
func orderVariables() kong.Vars {
	v := kong.Vars{}
	v["event_orders"], v["event_orders_prose"] = orderNames(eventShape(false))
	v["incident_orders"], v["incident_orders_prose"] = orderNames(incidentShape())
	v["delivery_orders"], v["delivery_orders_prose"] = orderNames(deliveryShape())
	v["hook_orders"], v["hook_orders_prose"] = orderNames(hookShape())
	return v
}
