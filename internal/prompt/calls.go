package prompt

import (
	"maps"
	"slices"
	"text/template/parse"
)

// refused are the functions of text/template that a prompt can't call. The parser knows them, so
// that the compiler can say so.
var refused = []string{"call", "html", "index", "js", "println", "slice", "urlquery"}

// parsedFunctions are the names that the parser takes for functions.
var parsedFunctions = func() map[string]any {
	names := map[string]any{}
	for _, name := range slices.Concat(slices.Collect(maps.Keys(functions)), refused, []string{"and", "or"}) {
		names[name] = true
	}
	return names
}()

// call compiles the call of a function, with the value of a pipeline as its last argument.
func (c *compiler) call(id *parse.IdentifierNode, args []parse.Node, last *operand) (expr, kinds, error) {
	if slices.Contains(refused, id.Ident) {
		return nil, 0, c.refuse(id, "function %q can't be used in a prompt", id.Ident)
	}
	called := functions[id.Ident]
	operands := make([]operand, 0, len(args)+1)
	for i, arg := range args {
		var takes kinds
		if called != nil && i < len(called.takes) {
			takes = called.takes[i]
		}
		of, yields, err := c.argument(arg, takes)
		if err != nil {
			return nil, 0, err
		}
		operands = append(operands, operand{arg, of, yields})
	}
	if last != nil {
		operands = append(operands, *last)
	}
	if called == nil {
		return c.choice(id, operands)
	}
	if err := c.fits(id, called, operands); err != nil {
		return nil, 0, err
	}
	if id.Ident == "printf" {
		return c.printf(id, operands)
	}
	return call{called, exprs(operands)}, called.yields, nil
}

// argument compiles a value that is given to a function. Where an integer is wanted, a constant may be
// written in any form that is one, such as 1e3.
func (c *compiler) argument(n parse.Node, takes kinds) (expr, kinds, error) {
	if number, ok := n.(*parse.NumberNode); ok && takes == integerKind && number.IsInt {
		return constant{value{data: int(number.Int64)}}, integerKind, nil
	}
	return c.operand(n)
}

func exprs(operands []operand) []expr {
	list := make([]expr, len(operands))
	for i, o := range operands {
		list[i] = o.of
	}
	return list
}

// choice compiles "and" or "or", which may yield any of their arguments.
func (c *compiler) choice(id *parse.IdentifierNode, operands []operand) (expr, kinds, error) {
	if len(operands) == 0 {
		return nil, 0, c.refuse(id, "%s needs at least one value", id.Ident)
	}
	var yields kinds
	for _, o := range operands {
		yields |= o.yields
	}
	return choice{id.Ident == "or", exprs(operands)}, yields, nil
}

// fits says why a function can't be given some values; nil if it can. A value that may be of several
// kinds need fit by one of them only.
func (c *compiler) fits(id *parse.IdentifierNode, called *function, operands []operand) error {
	least := len(called.takes)
	if len(operands) < least || len(operands) > least && called.more == 0 {
		return c.refuse(id, "%s needs %d values, not %d", id.Ident, least, len(operands))
	}
	for i, o := range operands {
		takes := called.more
		if i < least {
			takes = called.takes[i]
		}
		if takes&o.yields == 0 {
			return c.refuse(o.node, "%s is %s, where %s needs %s%s", o.node, o.yields, id.Ident, takes, incompatible(id.Ident))
		}
	}
	if !slices.Contains(comparisons, id.Ident) {
		return nil
	}
	for _, o := range operands[1:] {
		if first := operands[0].yields; first&o.yields == 0 && (first|o.yields)&nothingKind == 0 {
			return c.refuse(o.node, "%s compares %s with %s, which never are the same%s", id.Ident, first, o.yields, incompatible(id.Ident))
		}
	}
	return nil
}

var comparisons = []string{"eq", "ne", "lt", "le", "gt", "ge"}

// incompatible ends the message about a comparison, in text/template's words.
func incompatible(name string) string {
	if slices.Contains(comparisons, name) {
		return ": incompatible types for comparison"
	}
	return ""
}

// printf compiles the call of printf, whose format is constant: an agent's prompt has no form that the
// cluster chooses.
func (c *compiler) printf(id *parse.IdentifierNode, operands []operand) (expr, kinds, error) {
	format, ok := operands[0].node.(*parse.StringNode)
	if !ok || wide.MatchString(format.Text) {
		return nil, 0, c.refuse(id, "printf needs a constant format without a width of more than two digits")
	}
	parts, ok := directives(format.Text, len(operands)-1)
	if !ok {
		return nil, 0, c.refuse(format, "the format of printf has no verb where one belongs: write such as %%[1]s")
	}
	return call{formatted(parts), exprs(operands[1:])}, textKind, nil
}
