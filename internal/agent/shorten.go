package agent

import "github.com/kagent-dev/khook/internal/incident"

// An answer that is too large is shortened while it is received, so that how its task does is known also where its agent has made a file
// of ten megabytes: else such a task would never end for khook. Texts lose their ends, and the lists in which an agent can put much, the
// ends of their elements. Where that is not enough the answer is refused.

// What an answer may have in it, beside its bytes.
const (
	maxValues = 160_000
	maxDepth  = 100
)

// maxShortened is how many times as large as allowed an answer may be to be shortened: it is received to its end.
const maxShortened = 16

// boxes are the members of tasks and messages in which an agent can put much. Each has an equal bound of its own, so that none of
// them displaces the state, which kagent tells last.
var boxes = map[string]bool{"artifacts": true, "history": true, "metadata": true, "parts": true}

// maxBoxDepth is where boxes are looked for: in a task, its status, and the status message, also in kagent's envelopes.
const maxBoxDepth = 5

// shortener copies JSON as it comes by, in memory bounded by what is allowed. What is no JSON is copied somehow.
type shortener struct {
	limit  int64 // bytes of out; then it is full
	text   int   // bytes that each text keeps
	room   int   // bytes of each box
	values int64 // of each box

	out     []byte
	n       int64 // values in out
	stack   []frame
	box     int // how deep the box is that is being copied; 0 for none
	boxAt   int
	boxN    int64
	spent   bool // the box has no room for further elements
	muted   bool // what comes is left out
	deep    bool // because it lies too deep
	nest    int  // brackets that are open in what is left out
	quote   quote
	key     []byte // of the member that is being copied
	dropped dropped
}

// dropped tells what a shortened answer lacks.
type dropped struct{ elements, history, answer bool }

// frame is an object or a list that is open.
type frame struct {
	object, value bool   // value: the member's key has been copied
	box           string // its name
	mark          int    // length of out after its last complete element
	n             int64  // values then
}

// quote is the text that is being copied.
type quote struct {
	open, key, escaped bool
	hex                int // digits of an escape that are still to come
	size               int
	full, base64       bool
}

func newShortener(limit, memory int64) *shortener {
	values := max(64, min(maxValues, (memory-costOf(limit, 0))/costOf(0, 1)))
	return &shortener{limit: limit, text: int(limit / 16), room: int(limit / 8), values: values / 8}
}

// full says whether more can't be copied.
func (s *shortener) full() bool { return int64(len(s.out)) > s.limit }

// Write implements io.Writer.
func (s *shortener) Write(p []byte) (int, error) {
	for _, b := range p {
		if s.full() {
			break
		}
		s.add(b)
	}
	return len(p), nil
}

func (s *shortener) add(b byte) {
	switch {
	case s.quote.open:
		s.inText(b)
	case b == '"':
		s.beginText()
	case s.muted:
		s.leaveOut(b)
	case b == '{' || b == '[':
		s.begin(b)
	case b == '}' || b == ']':
		s.end(b)
	case b == ',':
		s.comma()
	default:
		if b == ':' && len(s.stack) > 0 {
			s.top().value = true
		}
		s.put(b)
	}
	s.bound()
}

func (s *shortener) top() *frame { return &s.stack[len(s.stack)-1] }

func (s *shortener) put(b byte) {
	if !s.muted {
		s.out = append(s.out, b)
	}
}

func (s *shortener) begin(b byte) {
	if len(s.stack) >= maxDepth {
		s.out = append(s.out, "null"...)
		s.muted, s.deep, s.nest, s.dropped.elements = true, true, 0, true
		return
	}
	name := ""
	if depth := len(s.stack); depth > 0 && depth <= maxBoxDepth && s.box == 0 && s.top().object && boxes[string(s.key)] {
		name = string(s.key)
	}
	s.n++
	s.put(b)
	s.stack = append(s.stack, frame{object: b == '{', box: name, mark: len(s.out), n: s.n})
	if name != "" {
		s.box, s.boxAt, s.boxN, s.spent = len(s.stack), len(s.out), s.n, false
	}
}

func (s *shortener) end(b byte) {
	s.put(b)
	if len(s.stack) == 0 {
		return
	}
	s.stack = s.stack[:len(s.stack)-1]
	if len(s.stack) < s.box {
		s.box, s.spent = 0, false
	}
}

func (s *shortener) comma() {
	if len(s.stack) > 0 {
		top := s.top()
		top.mark, top.n, top.value = len(s.out), s.n, false
		if s.spent && !top.object {
			s.cutAt(len(s.stack))
			return
		}
	}
	s.n++
	s.put(',')
}

// bound keeps the box in its room: it drops the element of the innermost list, and what comes after it in all lists around; where
// that is not enough, the rest of the box.
func (s *shortener) bound() {
	times := 1
	if s.spent {
		times = 2
	}
	if s.box == 0 || s.muted || len(s.out)-s.boxAt <= times*s.room && s.n-s.boxN <= int64(times)*s.values {
		return
	}
	level := len(s.stack)
	for level > s.box && (s.spent || s.stack[level-1].object) {
		level--
	}
	s.spent = true
	s.cutAt(level)
}

// cutAt leaves out what the list or object at that depth has after its last complete element.
func (s *shortener) cutAt(level int) {
	f := s.stack[level-1]
	s.out, s.n, s.nest = s.out[:f.mark], f.n, len(s.stack)-level
	s.stack = s.stack[:level]
	s.muted, s.deep, s.dropped.elements = true, false, true
	switch s.stack[s.box-1].box {
	case "history":
		s.dropped.history = true
	case "artifacts", "parts":
		s.dropped.answer = true
	}
}

// leaveOut looks for the end of what is left out.
func (s *shortener) leaveOut(b byte) {
	switch {
	case b == '{' || b == '[':
		s.nest++
	case b != '}' && b != ']':
	case s.nest > 0:
		s.nest--
	default:
		s.muted = false
		if !s.deep {
			s.end(b)
		}
	}
}

func (s *shortener) beginText() {
	inObject := len(s.stack) > 0 && s.top().object
	s.quote = quote{open: true, key: !s.muted && inObject && !s.top().value}
	if s.quote.key {
		s.key = s.key[:0]
	}
	// What a file holds must have a length that base64 can have.
	s.quote.base64 = inObject && (string(s.key) == "bytes" || string(s.key) == "raw")
	s.put('"')
}

func (s *shortener) inText(b byte) {
	q := &s.quote
	whole := !q.escaped && q.hex == 0 // b begins a character
	switch {
	case q.escaped:
		q.escaped = false
		if b == 'u' {
			q.hex = 4
		}
	case b == '\\':
		q.escaped, q.hex = true, 0
	case b == '"':
		s.endText()
		return
	case q.hex > 0:
		q.hex--
	}
	whole = whole && b&0xc0 != 0x80
	q.full = q.full || whole && q.size >= s.text && (!q.base64 || q.size%4 == 0)
	if q.full {
		return
	}
	q.size++
	s.put(b)
	if q.key && len(s.key) <= maxID {
		s.key = append(s.key, b)
	}
}

func (s *shortener) endText() {
	if s.quote.full && !s.quote.base64 && !s.muted {
		s.out = append(s.out, incident.Ellipsis...)
	}
	s.quote = quote{}
	s.put('"')
}
