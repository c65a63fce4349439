package recorder

import (
	"slices"
	"strings"
)

// dictionary replaces words in texts, the longest first.
type dictionary struct {
	words  map[string]string
	sizes  *[]int          // of the words, the longest first
	inside func(byte) bool // whether a byte beside a word makes it a part of another one
}

func newDictionary(inside func(byte) bool) dictionary {
	return dictionary{map[string]string{}, new([]int), inside}
}

// set replaces a word from now on, unless it is replaced already, or a common one.
func (d dictionary) set(word, by string) {
	if _, known := d.words[word]; known || word == "" || common[word] {
		return
	}
	d.words[word] = by
	at, found := slices.BinarySearchFunc(*d.sizes, len(word), func(size, of int) int { return of - size })
	if !found {
		*d.sizes = slices.Insert(*d.sizes, at, len(word))
	}
}

// replace is a text with the words replaced.
func (d dictionary) replace(text string) string {
	if len(d.words) == 0 {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		if size, by := d.at(text, i); size > 0 {
			b.WriteString(by)
			i += size
			continue
		}
		b.WriteByte(text[i])
		i++
	}
	return b.String()
}

// at is the longest word that begins at a place of a text, and what it is replaced by.
func (d dictionary) at(text string, i int) (size int, by string) {
	if i > 0 && d.inside(text[i-1]) {
		return 0, ""
	}
	for _, size := range *d.sizes {
		if i+size > len(text) || !d.ends(text[i+size:]) {
			continue
		}
		if by, found := d.words[text[i:i+size]]; found {
			return size, by
		}
	}
	return 0, ""
}

// ends says whether a word may end before the rest of a text. A dot ends a sentence if nothing comes right after it.
func (d dictionary) ends(rest string) bool {
	if rest == "" || !d.inside(rest[0]) {
		return true
	}
	return rest[0] == '.' && (len(rest) == 1 || !isAlphanumeric(rest[1]))
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// isPartOfName says whether a byte can be in the name of an object.
func isPartOfName(c byte) bool { return isAlphanumeric(c) || c == '-' || c == '.' || c == '_' }
