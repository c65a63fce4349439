package prompt

import (
	"slices"

	"github.com/kagent-dev/khook/internal/incident"
)

// step is a part of a compiled template that writes, assigns or decides.
type step interface{ run(r *rendering) }

// expr is a part of a compiled template that yields a value.
type expr interface{ eval(r *rendering) value }

type (
	// literal is text outside of the template's actions.
	literal string
	// output prints a value.
	output struct{ of expr }
	// composition prints what print or printf puts beside each other, of which only that which the
	// cluster says is marked.
	composition struct{ of call }
	// assignment gives a variable of the template its value.
	assignment struct {
		slot int
		of   expr
	}
	// branch is an if. Its condition may be kept in a variable.
	branch struct {
		of              expr
		slot            int // -1: in none
		then, otherwise []step
	}
)

func (s literal) run(r *rendering) { r.write(string(s)) }

func (s output) run(r *rendering) {
	v := s.of.eval(r)
	switch {
	case r.ended():
	case v.data == nil:
		r.write("<no value>") // as text/template has it
	default:
		r.writeValue(v.text(), v.cluster)
	}
}

func (s composition) run(r *rendering) {
	args := s.of.arguments(r)
	if !r.look(args...) {
		return
	}
	for _, p := range s.of.of.compose(r, args) {
		r.writeValue(p.text, p.cluster)
	}
}

func (s assignment) run(r *rendering) { r.slots[s.slot] = s.of.eval(r) }

func (s branch) run(r *rendering) {
	condition := s.of.eval(r)
	if s.slot >= 0 {
		r.slots[s.slot] = condition
	}
	if truth(condition) {
		r.steps(s.then)
		return
	}
	r.steps(s.otherwise)
}

// truth is what a condition makes of a value: everything but the zero of its type is true.
func truth(v value) bool {
	switch data := v.data.(type) {
	case string:
		return data != ""
	case bool:
		return data
	case int:
		return data != 0
	case float64:
		return data != 0
	case complex128:
		return data != 0
	}
	return false
}

type (
	constant struct{ value }
	// variable is one of Variables.
	variable struct {
		field   int
		cluster bool // others can choose its text
	}
	// local is a variable of the template.
	local int
	// call calls a function.
	call struct {
		of   *function
		args []expr
	}
	// choice is "and", or "or": the first argument that decides, else the last one.
	choice struct {
		or   bool
		args []expr
	}
)

func (e constant) eval(*rendering) value { return e.value }

func (e variable) eval(r *rendering) value {
	return value{r.facts.Field(e.field).Interface(), e.cluster}
}

func (e local) eval(r *rendering) value { return r.slots[e] }

func (e call) arguments(r *rendering) []value {
	args := make([]value, len(e.args))
	for i, arg := range e.args {
		args[i] = arg.eval(r)
	}
	return args
}

func (e call) eval(r *rendering) value {
	args := e.arguments(r)
	switch {
	case !r.look(args...):
		return value{}
	case e.of.compose != nil:
		return join(e.of.compose(r, args))
	case e.of.makes && r.spent():
		r.over = true
		return value{incident.Ellipsis, anyOfCluster(args)}
	}
	return e.of.call(r, args)
}

func anyOfCluster(values []value) bool {
	return slices.ContainsFunc(values, func(v value) bool { return v.cluster })
}

func (e choice) eval(r *rendering) value {
	var v value
	for _, arg := range e.args {
		if v = arg.eval(r); truth(v) == e.or {
			break
		}
	}
	return v
}
