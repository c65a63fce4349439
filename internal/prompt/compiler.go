package prompt

import (
	"fmt"
	"slices"
	"strings"
	"text/template/parse"
)

// maxNesting bounds how deep parentheses and conditions of a prompt may be nested, so that its compiler
// and its rendering need little stack.
const maxNesting = 100

// compiler makes steps of a template's tree, which know no failure: each name is known, and each
// function gets values that it takes.
type compiler struct {
	tree  *parse.Tree
	names []declared // that can be seen, the latest last
	holds []kinds    // what each variable of the template may hold at this place
	depth int
}

// declared is a variable that the template declares.
type declared struct {
	name string
	slot int
}

func (c *compiler) refuse(n parse.Node, format string, args ...any) error {
	location, _ := c.tree.ErrorContext(n)
	return fmt.Errorf("%s: %s", location, fmt.Sprintf(format, args...))
}

func (c *compiler) list(list *parse.ListNode) ([]step, error) {
	if list == nil {
		return nil, nil
	}
	steps := make([]step, 0, len(list.Nodes))
	for _, n := range list.Nodes {
		next, err := c.step(n)
		if err != nil {
			return nil, err
		}
		steps = append(steps, next)
	}
	return steps, nil
}

func (c *compiler) step(n parse.Node) (step, error) {
	switch n := n.(type) {
	case *parse.TextNode:
		return literal(n.Text), nil
	case *parse.ActionNode:
		return c.action(n.Pipe)
	case *parse.IfNode:
		return c.branch(n)
	case *parse.WithNode:
		return nil, c.refuse(n, "with can't be used in a prompt; use if")
	case *parse.RangeNode:
		return nil, c.refuse(n, "range can't be used in a prompt: there are no lists")
	case *parse.TemplateNode:
		return nil, c.refuse(n, "template can't be used in a prompt")
	}
	return nil, c.refuse(n, "this can't be used in a prompt")
}

// action compiles what stands between braces.
func (c *compiler) action(pipe *parse.PipeNode) (step, error) {
	of, yields, err := c.pipe(pipe)
	if err != nil {
		return nil, err
	}
	if len(pipe.Decl) > 0 {
		slot, err := c.assign(pipe, yields)
		return assignment{slot, of}, err
	}
	if called, ok := of.(call); ok && len(pipe.Cmds) == 1 && composes(pipe.Cmds[0]) {
		return composition{called}, nil
	}
	return output{of}, nil
}

// composes says whether the command puts its arguments, whole, beside each other.
func composes(cmd *parse.CommandNode) bool {
	id, ok := cmd.Args[0].(*parse.IdentifierNode)
	if !ok || id.Ident != "printf" {
		return ok && id.Ident == "print"
	}
	format, ok := cmd.Args[1].(*parse.StringNode)
	return ok && plainFormat.MatchString(format.Text)
}

// branch compiles an if. After it, a variable may hold what either side gave it.
func (c *compiler) branch(n *parse.IfNode) (step, error) {
	if c.depth++; c.depth > maxNesting {
		return nil, c.refuse(n, "conditions are nested more than %d deep", maxNesting)
	}
	defer func(seen int) { c.depth, c.names = c.depth-1, c.names[:seen] }(len(c.names))
	b := branch{slot: -1}
	var yields kinds
	var err error
	if b.of, yields, err = c.pipe(n.Pipe); err != nil {
		return nil, err
	}
	if len(n.Pipe.Decl) > 0 {
		if b.slot, err = c.assign(n.Pipe, yields); err != nil {
			return nil, err
		}
	}
	before, seen := slices.Clone(c.holds), len(c.names)
	if b.then, err = c.list(n.List); err != nil {
		return nil, err
	}
	then := c.holds
	c.holds, c.names = slices.Concat(before, then[len(before):]), c.names[:seen]
	if b.otherwise, err = c.list(n.ElseList); err != nil {
		return nil, err
	}
	for i, held := range then {
		c.holds[i] |= held
	}
	return b, nil
}

// assign notes what a variable holds from here on, and returns its slot.
func (c *compiler) assign(pipe *parse.PipeNode, holds kinds) (int, error) {
	v := pipe.Decl[0]
	name := v.Ident[0]
	switch {
	case len(v.Ident) > 1 || name == "$":
		return 0, c.refuse(v, "%s can't be assigned: declare a variable of the prompt's own, such as $name", strings.Join(v.Ident, "."))
	case !pipe.IsAssign:
		c.names = append(c.names, declared{name, len(c.holds)})
		c.holds = append(c.holds, holds)
		return len(c.holds) - 1, nil
	}
	slot, ok := c.slot(name)
	if !ok {
		return 0, c.refuse(v, "variable %s is not declared here: declare it with := before", name)
	}
	c.holds[slot] = holds
	return slot, nil
}

// slot finds the variable that a name means.
func (c *compiler) slot(name string) (int, bool) {
	for _, d := range slices.Backward(c.names) {
		if d.name == name {
			return d.slot, true
		}
	}
	return 0, false
}

// pipe compiles commands, each of which is given the value of the one before as its last argument.
func (c *compiler) pipe(pipe *parse.PipeNode) (expr, kinds, error) {
	if c.depth++; c.depth > maxNesting {
		return nil, 0, c.refuse(pipe, "parentheses are nested more than %d deep", maxNesting)
	}
	defer func() { c.depth-- }()
	var last *operand
	for _, cmd := range pipe.Cmds {
		of, yields, err := c.command(cmd, last)
		if err != nil {
			return nil, 0, err
		}
		last = &operand{node: cmd, of: of, yields: yields}
	}
	return last.of, last.yields, nil
}

// operand is what a function is given.
type operand struct {
	node   parse.Node
	of     expr
	yields kinds
}

// command compiles the call of a function, or a value on its own. The last operand is nil for the
// first command of a pipeline.
func (c *compiler) command(cmd *parse.CommandNode, last *operand) (expr, kinds, error) {
	if id, ok := cmd.Args[0].(*parse.IdentifierNode); ok {
		return c.call(id, cmd.Args[1:], last)
	}
	if len(cmd.Args) > 1 || last != nil {
		return nil, 0, c.refuse(cmd, "%s is no function and can't be given a value", cmd.Args[0])
	}
	if _, ok := cmd.Args[0].(*parse.NilNode); ok {
		return nil, 0, c.refuse(cmd, "nil is no value of its own")
	}
	return c.operand(cmd.Args[0])
}

// operand compiles a value.
func (c *compiler) operand(n parse.Node) (expr, kinds, error) {
	switch n := n.(type) {
	case *parse.StringNode:
		return constant{value{data: n.Text}}, textKind, nil
	case *parse.BoolNode:
		return constant{value{data: n.True}}, truthKind, nil
	case *parse.NilNode:
		return constant{}, nothingKind, nil
	case *parse.NumberNode:
		return c.number(n)
	case *parse.FieldNode:
		return c.variable(n, n.Ident)
	case *parse.VariableNode:
		return c.local(n)
	case *parse.IdentifierNode:
		return c.call(n, nil, nil)
	case *parse.PipeNode:
		if len(n.Decl) > 0 {
			return nil, 0, c.refuse(n, "declare a variable in braces of its own, such as {{$name := .Reason}}")
		}
		return c.pipe(n)
	case *parse.DotNode:
		return nil, 0, c.refuseAll(n, ".")
	}
	return nil, 0, c.refuse(n, "write a variable on its own, such as {{.ResourceName}}")
}

// refuseAll refuses what stands for all variables together.
func (c *compiler) refuseAll(n parse.Node, written string) error {
	return c.refuse(n, "%s stands for all variables together and can't be used: name one, such as .EventMessage", written)
}

func (c *compiler) variable(n parse.Node, ident []string) (expr, kinds, error) {
	if len(ident) != 1 || !slices.Contains(VariableNames(), ident[0]) {
		return nil, 0, c.refuse(n, "unknown variable .%s: use one of %s", strings.Join(ident, "."), strings.Join(VariableNames(), ", "))
	}
	of, yields := variableOf(ident[0])
	return of, yields, nil
}

func (c *compiler) local(n *parse.VariableNode) (expr, kinds, error) {
	name := n.Ident[0]
	switch {
	case name == "$" && len(n.Ident) == 1:
		return nil, 0, c.refuseAll(n, "$")
	case name == "$":
		return c.variable(n, n.Ident[1:])
	case len(n.Ident) > 1:
		return nil, 0, c.refuse(n, "%s has no .%s: it is one value", name, strings.Join(n.Ident[1:], "."))
	}
	slot, ok := c.slot(name)
	if !ok {
		return nil, 0, c.refuse(n, "variable %s is not declared here", name)
	}
	return local(slot), c.holds[slot], nil
}

// number is a constant, of the type that its form says.
func (c *compiler) number(n *parse.NumberNode) (expr, kinds, error) {
	character := strings.HasPrefix(n.Text, "'")
	hex := strings.HasPrefix(strings.ToLower(n.Text), "0x") && !strings.ContainsAny(n.Text, "pP")
	switch {
	case n.IsComplex:
		return constant{value{data: n.Complex128}}, complexKind, nil
	case n.IsFloat && !character && !hex && strings.ContainsAny(n.Text, ".eEpP"):
		return constant{value{data: n.Float64}}, floatKind, nil
	case n.IsInt:
		return constant{value{data: int(n.Int64)}}, integerKind, nil
	}
	return nil, 0, c.refuse(n, "the number %s is too large", n.Text)
}
