package cli

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kagent-dev/khook/internal/api"
)

// complete is what bash offers for the last of the words.
func complete(t *testing.T, words ...string) []string {
	t.Helper()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash")
	}
	_, script, _ := khook(t, "completion", "bash")
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = fmt.Sprintf("%q", w)
	}
	out, err := exec.Command(bash, "-uc", fmt.Sprintf("%s\nCOMP_WORDS=(%s); COMP_CWORD=%d; COMP_LINE=%q; _khook; printf '%%s\\n' \"${COMPREPLY[@]}\"",
		script, strings.Join(quoted, " "), len(words)-1, strings.ReplaceAll(strings.Join(words, " "), " = ", "="))).CombinedOutput()
	if err != nil {
		t.Fatalf("%v %s", err, out)
	}
	offered := strings.Fields(string(out))
	slices.Sort(offered)
	return offered
}

func TestCLICompletesWhatIsThere(t *testing.T) {
	url, asked := history(t)
	dir := program(t)
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("KHOOK_SERVER", url)
	for _, c := range []struct {
		line, want string
	}{
		{"khook incidents show ", "6aa12b53 6aa12b99 7bb12b53 8cc12b53"},
		{"khook inc describe 6aa", "6aa12b53 6aa12b99"},
		{"khook incidents 6aa12b53-", "6aa12b53-7f03-5f1b-8118-075e1fe1a03b"},
		{"khook deliveries cancel 7", "7bb12b53"},
		{"khook deliveries show -n pay ", "8cc12b53"},
		{"khook deliveries --incident 8", "8cc12b53"},
		{"khook why 8", "8cc12b53"},
		{"khook hooks ", "pay/till shop/memory shop/pods"},
		{"khook stats hook shop/", "shop/memory shop/pods"},
		{"khook pause shop/m", "shop/memory"},
		{"khook events --hook p", "pay/till"},
		{"khook deliveries --agent ", "kagent/medic ops/surgeon"},
		{"khook agents o", "ops/surgeon"},
		{"khook events -n ", "pay shop"},
		{"khook approve ", "91b7f3a2"},
		{"khook approve --te", "--text"},
	} {
		if got := strings.Join(complete(t, strings.Split(c.line, " ")...), " "); got != c.want && got != c.want+" list logs show" {
			t.Errorf("%q: %q, want %q", c.line, got, c.want)
		}
	}
	// The flags that say where khook is are those that were typed; without any answer there are the words that are always there.
	*asked = nil
	t.Setenv("KHOOK_SERVER", "http://127.0.0.1:1")
	if got := complete(t, "khook", "hooks", "--server", "=", url, "shop/m"); !slices.Equal(got, []string{"shop/memory"}) || len(*asked) != 1 {
		t.Errorf("%q", got)
	}
	if got := complete(t, "khook", "deliveries", "sh"); !slices.Equal(got, []string{"show"}) {
		t.Errorf("%q", got)
	}
}

// TestCLICompletionRunsNothingThatANameSays: bash expands what it is given to choose from.
func TestCLICompletionRunsNothingThatANameSays(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "ran")
	url := answers(t, func(*http.Request) any {
		return api.Page[api.Hook]{Items: []api.Hook{{Namespace: "shop", Name: "$(touch${IFS}" + mark + ")"}, {Namespace: "`touch", Name: mark + "`"}, {Namespace: "shop", Name: "memory"}}}
	})
	t.Setenv("PATH", program(t)+":"+os.Getenv("PATH"))
	t.Setenv("KHOOK_SERVER", url)
	got := complete(t, "khook", "pause", "s")
	if _, err := os.Stat(mark); err == nil || !slices.Equal(got, []string{"shop/memory"}) {
		t.Errorf("%q %v", got, err)
	}
}

func TestCLICompletesWhatFollows(t *testing.T) {
	forms := []string{"json", "jsonpath=", "name", "table", "wide", "yaml"}
	for _, c := range []struct {
		line []string
		want []string
	}{
		{[]string{"khook", "events", "-o", ""}, forms},
		{[]string{"khook", "events", "--output", "="}, forms},
		{[]string{"khook", "events", "--output", "=", "js"}, []string{"json", "jsonpath="}},
		{[]string{"khook", "events", "--server", ""}, []string{}},
		{[]string{"khook", "events", "--help"}, []string{"--help"}},
		{[]string{"khook", "stats", "--ra"}, []string{"--range"}},
		{[]string{"khook", "stats", "by"}, []string{"by-type"}},
		{[]string{"khook", "stats", "trends", "--by", ""}, []string{"cluster", "namespace", "type"}},
		{[]string{"khook", "events", "-n", "stats", "--wo"}, []string{"--workload"}},
	} {
		if got := complete(t, c.line...); !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.line, got, c.want)
		}
	}
}

func TestCLICompletionIsTheSameEachTime(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		_, first, _ := khook(t, "completion", shell)
		for range 5 {
			if _, again, _ := khook(t, "completion", shell); again != first {
				t.Fatalf("%s: another script", shell)
			}
		}
		if strings.Contains(first, "zap-log-level") {
			t.Errorf("%s: a hidden flag is offered", shell)
		}
	}
}

func TestCLICompletionHasNoVariableThatIsSpecialInZsh(t *testing.T) {
	_, script, _ := khook(t, "completion", "zsh")
	for _, name := range []string{"path", "words", "prefix", "status", "argv", "commands"} {
		if strings.Contains(script, "$"+name) || strings.Contains(script, " "+name+"=") {
			t.Errorf("$%s", name)
		}
	}
}

func TestCLICompletesShortFlagsInFish(t *testing.T) {
	_, script, _ := khook(t, "completion", "fish")
	for _, part := range []string{"-l output -s o -x -a 'table wide json yaml name jsonpath='", "-l server -r ", "-l all -d "} {
		if !strings.Contains(script, part) {
			t.Errorf("no %q", part)
		}
	}
}

// TestTheScriptForZshHasNoLengthThatBeginsWithALetter: zsh takes ${words[@]:1:COUNT-1} for a modifier named C, where bash takes it for an
// expression, and then completes nothing.
func TestTheScriptForZshHasNoLengthThatBeginsWithALetter(t *testing.T) {
	_, script, _ := khook(t, "completion", "zsh")
	cuts := regexp.MustCompile(`\$\{[A-Za-z_]+(\[[^]]*\])?:[0-9]+:.`).FindAllString(script, -1)
	if len(cuts) == 0 {
		t.Fatalf("the script has no part of a list any more:\n%s", script[:min(len(script), 600)])
	}
	for _, c := range cuts {
		if last := c[len(c)-1]; last != '$' && (last < '0' || last > '9') {
			t.Errorf("%s", c)
		}
	}
}
