package recorder

import (
	"strings"
	"testing"
)

func TestTheLongestWordIsReplacedWhereItIsOne(t *testing.T) {
	for name, c := range map[string]struct {
		of   dictionary
		want string
	}{
		"name": {newDictionary(isPartOfName), "db-1 my-db.x [B] db2 (LONG) [B]. db.default"},
		"word": {newDictionary(isAlphanumeric), "[B]-1 my-[B].x [B] db2 (LONG) [B]. [B].default"},
	} {
		c.of.set("db", "[B]")
		c.of.set("db-credentials", "LONG")
		c.of.set("db", "the first one counts")
		c.of.set("default", "a common word stays")
		if got := c.of.replace("db-1 my-db.x db db2 (db-credentials) db. db.default"); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// FuzzReplace holds that a word that is to be replaced is nowhere left, whatever is around it, and that all else stays.
func FuzzReplace(f *testing.F) {
	f.Add("cart", "Failed to pull image cart:1 of cart-1.")
	f.Add("a.b", "a.b.c a.b. a.b")
	f.Add("ö", "ööö ö")
	f.Fuzz(func(t *testing.T, word, text string) {
		const mark = "\x00"
		if strings.Contains(text, mark) || strings.Contains(word, mark) || word == "" {
			return
		}
		for _, d := range []dictionary{newDictionary(isPartOfName), newDictionary(isAlphanumeric)} {
			d.set(word, mark)
			got := d.replace(text)
			if strings.ReplaceAll(got, mark, word) != text {
				t.Errorf("%q became %q", text, got)
			}
			if twice := d.replace(got); twice != got {
				t.Errorf("%q is still in %q", word, got)
			}
		}
	})
}
