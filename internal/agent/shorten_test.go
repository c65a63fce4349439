package agent

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kagent-dev/khook/internal/capacity"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// stateLast is an answer whose task tells its state after all else, as kagent's does.
func stateLast(dialect, members string) string {
	state := "completed"
	if dialects[dialect].v1 {
		state = "TASK_STATE_COMPLETED"
	}
	return `{"jsonrpc":"2.0","id":"1","result":{"kind":"task","contextId":"c",` + members + `,"id":"t","status":{"state":"` + state + `"}}}`
}

// repeated is a list's inside: n times the piece, in which %d is its number.
func repeated(n int, piece string) string {
	var all strings.Builder
	for i := range n {
		if i > 0 {
			_ = all.WriteByte(',')
		}
		_, _ = all.WriteString(strings.ReplaceAll(piece, "%d", fmt.Sprint(i)))
	}
	return all.String()
}

// tooMuch are what agents put into a task that is more than is read of it.
func tooMuch(dialect string) map[string]string {
	file := `{"kind":"file","file":{"bytes":"` + strings.Repeat("QUJD", 5<<19) + `"}}`
	if dialects[dialect].v1 {
		file = `{"raw":"` + strings.Repeat("QUJD", 5<<19) + `"}`
	}
	text := func(s string) string { return `{"kind":"text","text":"` + s + `"}` }
	artifact := func(parts string) string { return `{"artifactId":"a","parts":[` + parts + `]}` }
	well := text("all is well. ")
	return map[string]string{
		"one text":       `"artifacts":[` + artifact(text(strings.Repeat("all is well. ", 800_000))) + `]`,
		"escapes":        `"artifacts":[` + artifact(text("all is well. "+strings.Repeat(`\ud83d\ude00`, 900_000))) + `]`,
		"one file":       `"artifacts":[` + artifact(well+","+file) + `]`,
		"many files":     `"artifacts":[` + artifact(well+","+repeated(2, file)) + `]`,
		"many parts":     `"artifacts":[` + artifact(repeated(300_000, well)) + `]`,
		"many artifacts": `"artifacts":[` + repeated(100_000, artifact(well)) + `]`,
		"metadata":       `"metadata":{` + repeated(900_000, `"k%d":[{}]`) + `},"artifacts":[` + artifact(well) + `]`,
		"deep metadata":  `"metadata":{"a":` + strings.Repeat("[", 50_000) + strings.Repeat("]", 50_000) + `},"artifacts":[` + artifact(well) + `]`,
		"all of it": `"metadata":{` + repeated(100_000, `"k%d":[{}]`) + `},"history":[` + repeated(50_000, `{"role":"agent","messageId":"m%d","parts":[`+well+`]}`) +
			`],"artifacts":[` + artifact(repeated(100_000, well)) + `]`,
	}
}

func TestATaskOfWhichTooMuchIsToldIsStillSeenToEnd(t *testing.T) {
	bound := costOf(capacity.MaxAnswer, maxValues) + 2*capacity.AnswerByte*capacity.MaxAnswer
	for _, dialect := range []string{Kagent05, Kagent10} {
		for name, members := range tooMuch(dialect) {
			c := clientOf(t, dialect, always(stateLast(dialect, members)))
			var got Task
			var err error
			cost := peakOf(func() { got, err = c.Task(t.Context(), hostile, "t") })
			if err != nil || got.State != Completed || !strings.HasPrefix(got.Answer, "all is well.") || len(got.Answer) > delivery.MaxAnswer {
				t.Errorf("%s, %s: %s, %q, %v", dialect, name, got.State, incident.Clean(got.Answer, 50), err)
			}
			if (name == "one text" || name == "many parts" || name == "many artifacts") && !strings.HasSuffix(got.Answer, incident.Ellipsis) {
				t.Errorf("%s, %s: nothing says that the answer was cut", dialect, name)
			}
			if cost > bound {
				t.Errorf("%s, %s: %s were taken, at most %s are allowed", dialect, name, capacity.Text(cost), capacity.Text(bound))
			}
		}
	}
}

func TestOfAHistoryThatIsTooLargeTheNewestIsRead(t *testing.T) {
	history := func(from, to int) string {
		var all []string
		for i := from; i < to; i++ {
			all = append(all, fmt.Sprintf(`{"role":"ROLE_USER","messageId":"said-%d","parts":[{"text":%q}]}`, i, strings.Repeat("x ", 5000)))
		}
		return `"history":[` + strings.Join(all, ",") + `]`
	}
	c := clientOf(t, Kagent10, answering(func(r *http.Request) io.Reader {
		asked, _ := io.ReadAll(r.Body)
		if strings.Contains(string(asked), fmt.Sprintf(`"historyLength":%d`, shortHistory)) {
			return strings.NewReader(stateLast(Kagent10, history(290, 300)))
		}
		return strings.NewReader(stateLast(Kagent10, history(0, 300)))
	}))
	got, err := c.Task(t.Context(), hostile, "t")
	if err != nil || !got.Heard("said-299") || !got.MoreEntries {
		t.Errorf("%v, heard %t, more %t", err, got.Heard("said-299"), got.MoreEntries)
	}
}

// A body that never ends must not be received for ever.
func TestAnAnswerWithoutEndIsGivenUp(t *testing.T) {
	c := clientOf(t, Kagent10, answering(func(*http.Request) io.Reader {
		return io.MultiReader(strings.NewReader(`{"result":{"artifacts":[{"parts":[{"text":"`), endless{})
	}))
	_, err := c.Task(t.Context(), hostile, "t")
	if err == nil || !strings.Contains(err.Error(), "larger than the 2097152 bytes") {
		t.Errorf("got %v", err)
	}
}

type endless struct{}

// Read implements io.Reader.
func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestWhateverIsShortenedIsJSONWithinItsBounds(t *testing.T) {
	name := rapid.SampledFrom([]string{"artifacts", "history", "metadata", "parts", "status", "bytes", "a\"b"})
	var of func(depth int) *rapid.Generator[any]
	of = func(depth int) *rapid.Generator[any] {
		text := rapid.Map(rapid.String(), func(s string) any { return strings.Repeat(s, 40) })
		if depth == 0 {
			return rapid.OneOf(text, rapid.Just[any](nil), rapid.Map(rapid.Int(), func(i int) any { return i }))
		}
		return rapid.OneOf(text,
			rapid.Map(rapid.SliceOfN(of(depth-1), 0, 20), func(l []any) any { return l }),
			rapid.Map(rapid.MapOfN(name, of(depth-1), 0, 6), func(m map[string]any) any { return m }))
	}
	rapid.Check(t, func(r *rapid.T) {
		whole, err := json.Marshal(map[string]any{"result": of(4).Draw(r, "result"), "state": "done"})
		if err != nil {
			r.Fatal(err)
		}
		s := newShortener(16<<10, 1<<20)
		for part := whole; len(part) > 0; { // as it may come by
			n := min(len(part), rapid.IntRange(1, 4096).Draw(r, "n"))
			_, _ = s.Write(part[:n])
			part = part[n:]
		}
		var got struct{ State string }
		switch {
		case s.full():
			if len(s.out) > 16<<10+8 {
				r.Errorf("%d bytes", len(s.out))
			}
		case json.Unmarshal(s.out, &got) != nil || got.State != "done":
			r.Errorf("%s became %s", whole, s.out)
		case len(whole) < 1000 && string(s.out) != string(whole):
			r.Errorf("%s fits, and became %s", whole, s.out)
		}
	})
}
