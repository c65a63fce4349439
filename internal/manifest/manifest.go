package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	sigsyaml "sigs.k8s.io/yaml"
)

// Bounds of what is read.
const (
	maxText      = 1 << 20 // bytes
	MaxDocuments = 100     // and Hooks
)

// Object is one object of a text.
type Object struct {
	Document int // from 1
	Position *Position
	Value    any
}

// reader reads the objects of a text of YAML and JSON documents; those of lists one by one.
type reader struct {
	found    []Object
	document int  // that is read
	full     bool // the bounds are reached
	unfolded int  // bytes
	tell     func(Problem)
}

// Problem is why a text, or a part of it, can't be read.
type Problem struct {
	Document int    // from 1
	Line     int    // of the whole text, from 1
	Field    string // path of the value, where it is about one
	Message  string // says what to change
	Stops    bool   // nothing behind it was looked at
}

// Read returns the objects of a text that could be read, and tells of each problem as it is found: of one
// part, the others are read all the same; of one that stops, what comes behind is not.
func Read(text []byte, tell func(Problem)) []Object {
	r := &reader{tell: tell}
	if len(text) > maxText {
		r.stop(1, fmt.Sprintf("the text is larger than %d MiB: check it in parts", maxText>>20))
		return nil
	}
	line := 0
	for _, chunk := range split(text) {
		if r.full {
			break // a parser for each of the rest would take a hundred times their size
		}
		r.read(chunk, line)
		line += bytes.Count(chunk, []byte("\n"))
	}
	return r.found
}

// split cuts a text before each line that begins a document.
func split(text []byte) [][]byte {
	var chunks [][]byte
	start, at := 0, 0
	for line := range bytes.Lines(text) {
		after, marker := bytes.CutPrefix(line, []byte("---"))
		if marker && at > start && (len(after) == 0 || strings.ContainsRune(" \t\r\n", rune(after[0]))) {
			chunks, start = append(chunks, text[start:at]), at
		}
		at += len(line)
	}
	return append(chunks, text[start:])
}

func (r *reader) fail(line int, message string) {
	r.tell(Problem{Document: max(1, r.document), Line: line, Message: message})
}

// stop says why the rest of the text is not looked at.
func (r *reader) stop(line int, message string) {
	r.full = true
	r.tell(Problem{Document: max(1, r.document), Line: line, Message: message, Stops: true})
}

// begin counts the document that begins at a line, and says whether it may be read.
func (r *reader) begin(line int) bool {
	if r.full {
		return false
	}
	r.document++
	if r.document > MaxDocuments {
		r.stop(line, fmt.Sprintf("there are more than %d documents: the rest was not looked at, check it in parts", MaxDocuments))
	}
	return !r.full
}

// read reads a chunk: one YAML document, or JSON values one after the other.
func (r *reader) read(chunk []byte, before int) {
	content := bytes.TrimSpace(bytes.TrimPrefix(bytes.TrimSpace(chunk), []byte("---")))
	if len(content) > 0 && content[0] == '{' && r.readJSON(chunk[bytes.IndexByte(chunk, '{'):], before+linesBefore(chunk, '{')) {
		return
	}
	r.readYAML(chunk, before)
}

func linesBefore(chunk []byte, first byte) int {
	return bytes.Count(chunk[:bytes.IndexByte(chunk, first)], []byte("\n"))
}

// readYAML looks at the document before it is turned into values: aliases in it can stand for each other a billion times,
// and only in the tree of nodes does that cost nothing yet. It reads the document of a chunk, if there is more in it than comments.
func (r *reader) readYAML(chunk []byte, before int) {
	var node yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(chunk))
	err := decoder.Decode(&node)
	if errors.Is(err, io.EOF) || err == nil && empty(&node) || !r.begin(before+1) {
		return
	}
	if err == nil && !errors.Is(decoder.Decode(new(yaml.Node)), io.EOF) {
		err = errors.New("something follows the document's end: begin the next document with ---")
	}
	if err != nil {
		r.syntax(err, chunk, before)
		return
	}
	at, repeats, err := r.surveyYAML(&node, before)
	if err != nil {
		r.fail(node.Content[0].Line+before, err.Error())
		return
	}
	value, err := yamlValue(chunk, repeats)
	if err != nil {
		r.syntax(err, chunk, before)
		return
	}
	r.add(Object{r.document, at, value})
}

// surveyYAML says where the values are, and whether a key may be there twice: it was told, or is
// set beside those of a <<.
func (r *reader) surveyYAML(node *yaml.Node, before int) (at *Position, repeats bool, err error) {
	s := yamlSurveyor{before: before, aliased: map[*yaml.Node]*Position{}}
	s.report = func(line int, path, message string) {
		repeats = true
		r.tell(Problem{Document: r.document, Line: line, Field: path, Message: message})
	}
	if at, err = s.survey(node); err != nil {
		return nil, false, err
	}
	if r.unfolded += at.size; r.unfolded > maxUnfolded {
		return nil, false, errBomb
	}
	return at, repeats || s.merges, nil
}

func empty(document *yaml.Node) bool {
	return len(document.Content) == 0 || document.Content[0].Kind == yaml.ScalarNode && document.Content[0].Tag == "!!null"
}

// yamlValue reads a document as kubectl and the API server do, which is by the rules of YAML 1.1
// ("yes" is true). A key that is there twice is refused, unless that is known already.
func yamlValue(chunk []byte, repeats bool) (any, error) {
	convert := sigsyaml.YAMLToJSONStrict
	if repeats {
		convert = sigsyaml.YAMLToJSON
	}
	data, err := convert(chunk)
	if err != nil {
		return nil, err
	}
	var value any
	return value, utiljson.Unmarshal(data, &value)
}

var (
	yamlLine = regexp.MustCompile(`line (\d+): `)
	// lineEarly are the errors of which the parser names the line before.
	lineEarly = regexp.MustCompile(`^did not find expected (<|node content|key|',' or|'-' indicator)`)
)

// syntax tells an error of a YAML parser, at the first line that it names.
func (r *reader) syntax(err error, chunk []byte, before int) {
	message, line := err.Error(), 1
	if found := yamlLine.FindStringSubmatchIndex(message); found != nil {
		line, _ = strconv.Atoi(message[found[2]:found[3]])
		message = message[found[1]:]
		if next := yamlLine.FindStringIndex(message); next != nil {
			message = message[:next[0]]
		}
		if lineEarly.MatchString(message) {
			line++
		}
	}
	for _, prefix := range []string{"error converting YAML to JSON: ", "yaml: ", "unmarshal errors:"} {
		message = strings.TrimSpace(strings.TrimPrefix(message, prefix))
	}
	lines := bytes.Count(bytes.TrimRight(chunk, "\n"), []byte("\n")) + 1
	r.fail(before+min(line, lines), "not valid YAML: "+message)
}

// readJSON reads the values of a text that looks like JSON, and says whether it was JSON. If it
// was not, it may be YAML in braces.
func (r *reader) readJSON(text []byte, before int) bool {
	for rest := 0; len(bytes.TrimSpace(text[rest:])) > 0; {
		line := before + bytes.Count(text[:rest], []byte("\n"))
		if rest == 0 && !startsWithJSON(text) {
			return false
		}
		if !r.begin(line + 1) {
			return true
		}
		read, ok := r.readValue(text[rest:], line)
		if !ok {
			return true
		}
		rest += read
	}
	return true
}

// startsWithJSON says whether the text begins with a JSON value, or with nothing that YAML could
// read either.
func startsWithJSON(text []byte) bool {
	var value json.RawMessage
	if json.NewDecoder(bytes.NewReader(text)).Decode(&value) == nil {
		return true
	}
	inside := bytes.TrimSpace(text[1:])
	return len(inside) > 0 && inside[0] == '"' && yaml.Unmarshal(text, new(yaml.Node)) != nil
}

// readValue reads the JSON value that begins after some lines of the text, and returns how many
// bytes it has.
func (r *reader) readValue(text []byte, before int) (read int, ok bool) {
	s := jsonSurveyor{text: text, line: before + 1, decoder: json.NewDecoder(bytes.NewReader(text))}
	s.report = func(line int, path, message string) {
		r.tell(Problem{Document: r.document, Line: line, Field: path, Message: message})
	}
	at, err := s.survey()
	var value any
	if err == nil {
		err = utiljson.Unmarshal(text[:s.offset], &value)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("it ends too early, a bracket or a quote is missing")
	}
	if err != nil {
		r.fail(s.line, "not valid JSON: "+err.Error())
		return 0, false
	}
	r.add(Object{r.document, at, value})
	return s.offset, true
}

// add takes up an object, or those of a list.
func (r *reader) add(found Object) {
	object, _ := found.Value.(map[string]any)
	items, list := object["items"].([]any)
	if kind, _ := object["kind"].(string); !list || kind != "List" && kind != "HookList" {
		r.take(found)
		return
	}
	at, _ := found.Position.At("items")
	for i, item := range items {
		position := at
		if i < len(at.items) {
			position = at.items[i]
		}
		r.take(Object{found.Document, position, item})
	}
}

func (r *reader) take(found Object) {
	switch {
	case r.full:
	case len(r.found) >= MaxDocuments:
		r.stop(found.Position.Line, fmt.Sprintf("there are more than %d Hooks: the rest was not looked at, check them in parts", MaxDocuments))
	default:
		r.found = append(r.found, found)
	}
}
