package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bounds of what a text may unfold to.
const (
	maxPath     = 1 << 10 // bytes of a path that are followed
	maxDepth    = 100     // of maps and lists in each other; a Hook has 9
	maxUnfolded = 2 << 20 // bytes with all aliases written out
)

// Position is where in a text a value is, and where its parts are.
type Position struct {
	Line  int // of the key for a value in a map
	Value int // of the value itself, where it is on another line
	Block bool
	keys  map[string]*Position
	items []*Position
	size  int // bytes with all aliases written out, about
}

// At returns the position of a field path such as spec.eventConfigurations[0].prompt, or that of
// its nearest parent that is there, and whether it was there itself.
func (p *Position) At(path string) (found *Position, whole bool) {
	path = path[:min(len(path), maxPath)]
	for path != "" {
		next, rest := p.step(path)
		if next == nil {
			return p, false
		}
		p, path = next, rest
	}
	return p, true
}

// step follows the first part of a path. Keys may have dots and slashes in them, as labels do: the
// longest key that fits is taken.
func (p *Position) step(path string) (next *Position, rest string) {
	if index, after, ok := strings.Cut(path, "]"); ok && strings.HasPrefix(index, "[") && p.items != nil {
		if i, err := strconv.Atoi(index[1:]); err == nil && i >= 0 && i < len(p.items) {
			return p.items[i], strings.TrimPrefix(after, ".")
		}
		return nil, path
	}
	key := strings.HasPrefix(path, "[")
	for end := len(path); end > 0; end-- {
		switch boundary := end == len(path) || path[end] == '.' || path[end] == '['; {
		case boundary && p.keys[path[:end]] != nil:
			return p.keys[path[:end]], strings.TrimPrefix(path[end:], ".")
		case key && path[end-1] == ']' && p.keys[path[1:end-1]] != nil:
			return p.keys[path[1:end-1]], strings.TrimPrefix(path[end:], ".")
		}
	}
	return nil, path
}

// surveyor finds the positions of a document's values, and what makes the document unusable.
type surveyor struct {
	path   []string // of the value that is looked at
	report func(line int, path, message string)
}

var (
	errDeep  = fmt.Errorf("lists and maps are nested more than %d deep: write it flatter", maxDepth)
	errBomb  = errors.New("aliases (*name) make the document too large: write out what they stand for")
	errCycle = errors.New("an alias (*name) stands for something that holds it: write out what it stands for")
)

func (s *surveyor) duplicate(line int, key string, first *Position) {
	path := strings.Join(append(s.path, key), ".")
	s.report(line, strings.ReplaceAll(path, ".[", "["), fmt.Sprintf("the key is there twice, first in line %d: keep one", first.Line))
}

func (s *surveyor) within(part string, do func() error) error {
	if len(s.path) >= maxDepth {
		return errDeep
	}
	s.path = append(s.path, part)
	defer func() { s.path = s.path[:len(s.path)-1] }()
	return do()
}

// grow adds the part to a value and bounds the whole.
func (p *Position) grow(bytes int) error {
	if p.size += bytes; p.size > maxUnfolded {
		return errBomb
	}
	return nil
}

// yamlSurveyor is a surveyor of YAML nodes, whose aliases make the tree a graph.
type yamlSurveyor struct {
	surveyor
	before  int // lines before the document
	aliased map[*yaml.Node]*Position
	merges  bool // there is a << in it
}

func (s *yamlSurveyor) survey(n *yaml.Node) (*Position, error) {
	p := &Position{Line: n.Line + s.before, Value: n.Line + s.before, size: len(n.Value) + 2}
	p.Block = n.Style&yaml.LiteralStyle != 0
	switch n.Kind {
	case yaml.DocumentNode:
		return s.survey(n.Content[0])
	case yaml.AliasNode:
		return s.alias(n, p)
	case yaml.SequenceNode:
		return p, s.sequence(n, p)
	case yaml.MappingNode:
		return p, s.mapping(n, p)
	}
	return p, nil
}

// alias shares the position of what the alias stands for, but for its line.
func (s *yamlSurveyor) alias(n *yaml.Node, here *Position) (*Position, error) {
	target, known := s.aliased[n.Alias]
	if !known {
		s.aliased[n.Alias] = nil // being looked at
		found, err := s.survey(n.Alias)
		if err != nil {
			return nil, err
		}
		target = found
		s.aliased[n.Alias] = found
	}
	if target == nil {
		return nil, errCycle
	}
	alias := *target
	alias.Line, alias.Value, alias.Block = here.Line, here.Line, false
	return &alias, nil
}

func (s *yamlSurveyor) sequence(n *yaml.Node, p *Position) error {
	p.items = make([]*Position, 0, len(n.Content))
	for i, c := range n.Content {
		err := s.within(fmt.Sprintf("[%d]", i), func() error {
			item, err := s.survey(c)
			if err != nil {
				return err
			}
			p.items = append(p.items, item)
			return p.grow(item.size)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *yamlSurveyor) mapping(n *yaml.Node, p *Position) error {
	p.keys = make(map[string]*Position, len(n.Content)/2)
	var merged []*Position
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		err := s.within(key.Value, func() error {
			part, err := s.survey(value)
			if err != nil {
				return err
			}
			if key.Tag == "!!merge" {
				s.merges = true
				merged = append(append(merged, part), part.items...)
				return p.grow(part.size)
			}
			return s.put(p, key, part)
		})
		if err != nil {
			return err
		}
	}
	p.merge(merged)
	return nil
}

func (s *yamlSurveyor) put(p *Position, key *yaml.Node, part *Position) error {
	at := *part
	at.Line = key.Line + s.before
	if first, twice := p.keys[key.Value]; twice {
		parents := surveyor{s.path[:len(s.path)-1], s.report}
		parents.duplicate(at.Line, key.Value, first)
	} else {
		p.keys[key.Value] = &at
	}
	return p.grow(at.size + len(key.Value))
}

// merge takes up the keys of maps that YAML's << names, where they are not set beside it.
func (p *Position) merge(others []*Position) {
	for _, other := range others {
		for key, at := range other.keys {
			if p.keys[key] == nil {
				p.keys[key] = at
			}
		}
	}
}

// jsonSurveyor is a surveyor of JSON, which is read token by token.
type jsonSurveyor struct {
	surveyor
	text    []byte
	line    int // at offset
	offset  int
	decoder *json.Decoder
}

// next reads a token and says on which line it ends.
func (s *jsonSurveyor) next() (json.Token, int, error) {
	token, err := s.decoder.Token()
	s.line += bytes.Count(s.text[s.offset:s.decoder.InputOffset()], []byte("\n"))
	s.offset = int(s.decoder.InputOffset())
	return token, s.line, err
}

func (s *jsonSurveyor) survey() (*Position, error) {
	token, line, err := s.next()
	if err != nil {
		return nil, err
	}
	p := &Position{Line: line, Value: line}
	switch token {
	case json.Delim('{'):
		p.keys = map[string]*Position{}
		return p, s.parts(func() error { return s.member(p) })
	case json.Delim('['):
		p.items = []*Position{}
		return p, s.parts(func() error { return s.item(p) })
	}
	return p, nil
}

// parts reads what is in an object or a list up to its end.
func (s *jsonSurveyor) parts(part func() error) error {
	for s.decoder.More() {
		if err := part(); err != nil {
			return err
		}
	}
	_, _, err := s.next()
	return err
}

func (s *jsonSurveyor) member(p *Position) error {
	token, line, err := s.next()
	if err != nil {
		return err
	}
	key, _ := token.(string)
	var value *Position
	err = s.within(key, func() error {
		value, err = s.survey()
		return err
	})
	if err != nil {
		return err
	}
	value.Line = line
	if first, twice := p.keys[key]; twice {
		s.duplicate(line, key, first)
		return nil
	}
	p.keys[key] = value
	return nil
}

func (s *jsonSurveyor) item(p *Position) error {
	return s.within(fmt.Sprintf("[%d]", len(p.items)), func() error {
		item, err := s.survey()
		if err == nil {
			p.items = append(p.items, item)
		}
		return err
	})
}
