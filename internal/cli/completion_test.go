package cli

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
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
	out, err := exec.Command(bash, "-uc", fmt.Sprintf("%s\nCOMP_WORDS=(%s); COMP_CWORD=%d; _khook; printf '%%s\\n' \"${COMPREPLY[@]}\"",
		script, strings.Join(quoted, " "), len(words)-1)).CombinedOutput()
	if err != nil {
		t.Fatalf("%v %s", err, out)
	}
	offered := strings.Fields(string(out))
	slices.Sort(offered)
	return offered
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
		{[]string{"khook", "stats", "trends", "--by", ""}, []string{"namespace", "type"}},
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
