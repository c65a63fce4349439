package cli

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/width"

	"github.com/kagent-dev/khook/internal/incident"
)

// noHeader is above a column that is no text.
const noHeader = " "

// maxCell bounds a cell of a table, in bytes.
const maxCell = 2048

// How many spaces are between two columns.
const (
	columnGap = 3
	narrowGap = 2 // where there is little room
)

// table prints rows below a header, as wide as the terminal and no wider, unless the form is wide. What came from the
// cluster can't move the cursor. Columns whose headers spare names are left out where there is no room for all, the
// first of them first.
func (p *display) table(header []string, rows [][]string, spare ...string) error {
	return (&grid{p: p, header: header, spare: spare}).print(rows)
}

// grid prints rows in columns that stay where they are, or move to the right, as more rows come.
type grid struct {
	p      *display
	header []string
	spare  []string // headers of columns that are left out where there is no room, the first of them first
	widths []int    // of all columns, so far; nil before the first row
	begun  bool     // the header is printed
	shown  []int    // the columns that there is room for, once it has begun
	gap    int
}

// print prints rows, below the header if they are the first.
func (g *grid) print(rows [][]string) error {
	cells := make([][]string, 0, len(rows)+1)
	first := !g.begun
	if g.begun = true; first && !g.p.noHeaders {
		cells = append(cells, cleaned(g.header, nil))
	}
	for _, row := range rows {
		cells = append(cells, cleaned(row, g.header))
	}
	g.widths = widest(cells, g.widths)
	if first || g.shown == nil {
		g.choose()
	}
	fitted := picked(g.widths, g.shown)
	if g.p.cuts() {
		fitted = fit(fitted, g.p.width, g.gap)
	}
	for _, row := range cells {
		row = picked(row, g.shown)
		line := padded(row, fitted, g.gap, nil)
		if shown := g.p.cut(line); shown != line {
			line = shown // without colors: the cut may be in the middle of a state
		} else if g.p.colored {
			line = padded(row, fitted, g.gap, g.paint)
		}
		if _, err := fmt.Fprintln(g.p.out, line); err != nil {
			return err
		}
	}
	return nil
}

// choose finds out which columns there is room for, and how far apart they can be.
func (g *grid) choose() {
	g.gap, g.shown = columnGap, make([]int, len(g.widths))
	for i := range g.shown {
		g.shown[i] = i
	}
	if !g.p.cuts() || roomNeeded(g.widths, g.gap, math.MaxInt) <= g.p.width {
		return
	}
	g.gap = narrowGap
	for _, name := range g.spare {
		if roomNeeded(picked(g.widths, g.shown), g.gap, leastOther) <= g.p.width {
			return
		}
		g.shown = slices.DeleteFunc(g.shown, func(i int) bool { return g.header[i] == name })
	}
}

// roomNeeded is how many columns of a terminal a table takes if its last column is cut as far as it can be, and those between it and the
// first one to so much of them.
func roomNeeded(widths []int, gap, other int) int {
	sum := (len(widths) - 1) * gap
	for i, w := range widths {
		switch i {
		case 0:
			sum += w
		case len(widths) - 1:
			sum += min(w, leastLast)
		default:
			sum += min(w, other)
		}
	}
	return sum
}

// picked are some of all.
func picked[T any](all []T, which []int) []T {
	some := make([]T, 0, len(which))
	for _, i := range which {
		if i < len(all) {
			some = append(some, all[i])
		}
	}
	return some
}

// paint colors a cell if it has a state.
func (g *grid) paint(at int, cell string) string {
	if at < len(g.shown) && stateColumns[g.header[g.shown[at]]] {
		return g.p.paint(cell)
	}
	return cell
}

// cleaned are cells without what could move the cursor, and with a dash for what is not there.
func cleaned(row, header []string) []string {
	cells := make([]string, len(row))
	for i, c := range row {
		if cells[i] = incident.Clean(c, maxCell); cells[i] == "" && len(header) > 0 && header[min(i, len(header)-1)] != noHeader {
			cells[i] = "-"
		}
	}
	return cells
}

// widest are the widths of columns, of which some may be known to be wider.
func widest(rows [][]string, known []int) []int {
	widths := append([]int(nil), known...)
	for _, row := range rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], breadth(c))
		}
	}
	return widths
}

// What is left of columns that are cut.
const (
	leastLast  = 12 // of the last one, which has the message
	leastOther = 15 // of the others; it has room for a state
)

// fit are widths that a terminal has room for, as far as that can be: first the last column gives way, then the widest of
// those between it and the first, which has the IDs.
func fit(widths []int, room, gap int) []int {
	fitted, last := append([]int(nil), widths...), len(widths)-1
	if last < 0 {
		return fitted
	}
	over := (len(widths) - 1) * gap
	for _, w := range widths {
		over += w
	}
	over -= room
	shrink := func(i, least int) {
		less := max(0, min(over, fitted[i]-least))
		fitted[i], over = fitted[i]-less, over-less
	}
	for shrink(last, leastLast); over > 0; {
		most := 0
		for i := 1; i < last; i++ {
			if most == 0 || fitted[i] > fitted[most] {
				most = i
			}
		}
		if most == 0 || fitted[most] <= leastOther {
			break
		}
		shrink(most, fitted[most]-1)
	}
	return fitted
}

// padded is a line of cells, each as wide as its column and cut where it is wider.
func padded(row []string, widths []int, gap int, paint func(at int, cell string) string) string {
	var b strings.Builder
	for i, c := range row {
		c = cutTo(c, widths[i])
		if paint == nil {
			b.WriteString(c)
		} else {
			b.WriteString(paint(i, c))
		}
		if i < len(row)-1 {
			b.WriteString(strings.Repeat(" ", widths[i]-breadth(c)+gap))
		}
	}
	return strings.TrimRight(b.String(), " ")
}

// aligned are the lines of a table: each column is as wide as its widest cell, with a gap of some spaces behind it.
func aligned(rows [][]string, gap int) []string {
	widths := widest(rows, nil)
	lines := make([]string, len(rows))
	for i, row := range rows {
		lines[i] = padded(row, widths, gap, nil)
	}
	return lines
}

// cuts says whether lines are to fit into a terminal.
func (p *display) cuts() bool { return p.width > 0 && p.form != "wide" }

// cut is a line as far as the terminal has room for it.
func (p *display) cut(line string) string {
	if !p.cuts() {
		return line
	}
	return cutTo(line, p.width)
}

// cutTo is text in as many columns or fewer, with an ellipsis where something is missing.
func cutTo(text string, room int) string {
	if breadth(text) <= room {
		return text
	}
	used := 0
	for at, r := range text {
		w := breadthOf(r)
		if used+w > room-1 { // one is for the ellipsis
			return text[:at] + incident.Ellipsis
		}
		used += w
	}
	return text
}

// leastWrapped is how many columns a text is given at least that goes on in further lines.
const leastWrapped = 20

// wrapped is a text in lines that a terminal has room for behind an indentation, broken between words; one line where it need not fit.
func (p *display) wrapped(text string, indent int) []string {
	if !p.cuts() {
		return []string{text}
	}
	room := max(leastWrapped, p.width-indent)
	lines := []string{""}
	for word := range strings.FieldsSeq(text) {
		last := &lines[len(lines)-1]
		switch {
		case *last == "":
			*last = word
		case breadth(*last)+1+breadth(word) <= room:
			*last += " " + word
		default:
			lines = append(lines, word)
		}
	}
	return lines
}

// breadth is how many columns of a terminal a text takes.
func breadth(text string) int {
	n := 0
	for _, r := range text {
		n += breadthOf(r)
	}
	return n
}

// breadthOf is how many columns a character takes: two of what East Asian typography has as wide (Unicode Standard Annex
// 11), none of what is written onto the character before, else one.
func breadthOf(r rune) int {
	if r < 0x300 {
		return 1
	}
	if unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf) {
		return 0
	}
	if k := width.LookupRune(r).Kind(); k == width.EastAsianWide || k == width.EastAsianFullwidth {
		return 2
	}
	return 1
}
