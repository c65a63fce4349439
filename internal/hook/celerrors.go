package hook

import (
	"cmp"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/google/cel-go/common"
)

// The errors of CEL that people make, by their texts: cel-go has no kinds of errors. One that it words otherwise in another
// version is told as it is; a test holds those of this one.
var (
	celUndefined  = regexp.MustCompile(`^undefined field '(.*)'$`)
	celUndeclared = regexp.MustCompile(`^undeclared reference to '(.*)' \(in container '.*'\)$`)
	celOverload   = regexp.MustCompile(`^found no matching overload for '(.*)' applied to '\(?([^)]*)\)?'$`)
	celExpected   = regexp.MustCompile(`^expected type 'bool' but found '(.*)'$`)
	celFieldsOf   = regexp.MustCompile(`^type '(.*)' does not support field selection$`)
	celAssignment = regexp.MustCompile(`^Syntax error: token recognition error at: '=[^=]`)
	celSyntax     = regexp.MustCompile(`^Syntax error: (.*)$`)
)

// inOwnWords says what is wrong with an expression first, and what is allowed there.
func inOwnWords(all []*common.Error) string {
	e := slices.MinFunc(all, func(a, b *common.Error) int {
		return cmp.Or(cmp.Compare(a.Location.Line(), b.Location.Line()), cmp.Compare(a.Location.Column(), b.Location.Column()))
	})
	at := fmt.Sprintf("at character %d: ", e.Location.Column()+1)
	if line := e.Location.Line(); line > 1 {
		at = fmt.Sprintf("line %d, character %d: ", line, e.Location.Column()+1)
	}
	text := firstLine(strings.ReplaceAll(e.Message, "hook.celEvent", "event"))
	return at + firstLine(reworded(text))
}

func reworded(text string) string {
	if found := celUndefined.FindStringSubmatch(text); found != nil {
		return fmt.Sprintf("an event has no %s: it has %s", found[1], strings.Join(eventFields(), ", "))
	}
	if found := celUndeclared.FindStringSubmatch(text); found != nil {
		if slices.Contains(eventFields(), found[1]) {
			return fmt.Sprintf("%s is not known: write event.%s", found[1], found[1])
		}
		return fmt.Sprintf("%s is not known: the one variable is event, with %s; functions are those of CEL, such as contains, startsWith, endsWith, matches and size",
			found[1], strings.Join(eventFields(), ", "))
	}
	if found := celOverload.FindStringSubmatch(text); found != nil {
		return fmt.Sprintf("%s does not take %s: texts are written in quotes and numbers without, and only what is of one kind is compared", functionName(found[1]), kindNames(found[2]))
	}
	if found := celExpected.FindStringSubmatch(text); found != nil {
		return fmt.Sprintf("a condition must stand here, which is true or false, and this is %s: compare it with something, such as == or !=", kindNames(found[1]))
	}
	if found := celFieldsOf.FindStringSubmatch(text); found != nil {
		return fmt.Sprintf("%s has no fields; a label with dots in its name is written event.labels[\"a.b/c\"]", kindNames(found[1]))
	}
	if celAssignment.MatchString(text) {
		return "= is no comparison: write =="
	}
	if found := celSyntax.FindStringSubmatch(text); found != nil {
		return fmt.Sprintf("this is no expression in CEL, such as event.count > 3 && event.reason == \"Error\" (%s)", found[1])
	}
	return text
}

// eventFields are the fields of the variable event, in order.
func eventFields() []string {
	of := reflect.TypeFor[celEvent]()
	names := make([]string, of.NumField())
	for i := range names {
		names[i] = of.Field(i).Tag.Get("cel")
	}
	slices.Sort(names)
	return names
}

// functionName is a function as it is written: CEL calls operators _==_ and @in.
func functionName(name string) string {
	if name == "_?_:_" {
		return "? :"
	}
	return strings.Trim(name, "_@")
}

// kindNames are types of CEL in plain words.
func kindNames(list string) string {
	words := map[string]string{
		"int": "a number", "uint": "a number", "double": "a number with a fraction", "string": "a text", "bool": "a condition", "event": "the event as a whole", "": "nothing",
	}
	var names []string
	for part := range strings.SplitSeq(list, ", ") {
		if word, known := words[part]; known {
			part = word
		}
		names = append(names, part)
	}
	return strings.Join(names, " and ")
}
