package incident

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Ellipsis ends a text that was cut.
const Ellipsis = "…"

// Clean makes a text of the cluster fit to be stored and shown: valid UTF-8, no control or
// invisible formatting characters, each run of white space one space, at most limit bytes (cut
// with an Ellipsis). limit must be at least 3.
func Clean(text string, limit int) string {
	var b strings.Builder
	space := false
	for _, r := range text {
		if unicode.IsSpace(r) {
			space = b.Len() > 0
			continue
		}
		if Unseen(r) {
			continue
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		b.WriteRune(r)
		if b.Len() > limit {
			break
		}
	}
	return Truncate(b.String(), limit)
}

// Unseen says whether a character can't be seen, or changes how others are: control and format characters, and what is no UTF-8. White space
// among the control characters is for the caller to except.
func Unseen(r rune) bool {
	return r == utf8.RuneError || unicode.IsControl(r) || unicode.Is(unicode.Cf, r)
}

// Truncate cuts text to at most limit bytes, at a character's boundary, with an Ellipsis where
// something is missing. limit must be at least 3.
func Truncate(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	cut := limit - len(Ellipsis)
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + Ellipsis
}

// Counted is a number of things in words that agree with it: 1 event, 2 events, 2 deliveries.
func Counted[N ~int | ~int32 | ~int64](n N, one string) string {
	if n == 1 {
		return "1 " + one
	}
	many := one + "s"
	if stem, ok := strings.CutSuffix(one, "y"); ok && !strings.HasSuffix(stem, "a") && !strings.HasSuffix(stem, "e") && !strings.HasSuffix(stem, "o") {
		many = stem + "ies"
	}
	return fmt.Sprintf("%d %s", n, many)
}

// Are is the verb of a number of things.
func Are[N ~int | ~int32 | ~int64](n N) string {
	if n == 1 {
		return "is"
	}
	return "are"
}
