package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheControllerTakesDaysWhereverItTakesADuration: it gets as far as to look for a cluster.
func TestTheControllerTakesDaysWhereverItTakesADuration(t *testing.T) {
	file := filepath.Join(t.TempDir(), "khook.yaml")
	start := func(text string, args ...string) string {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, errs := khook(t, append([]string{"controller", "--config", file, "--kubeconfig", "/no/such/file"}, args...)...)
		return errs
	}
	for name, errs := range map[string]string{
		"the file": start("retention: 7d\n"), "a flag": start("", "--retention=1d12h"),
	} {
		if !strings.Contains(errs, "find a cluster") {
			t.Errorf("%s: %s", name, errs)
		}
	}
	t.Run("a variable", func(t *testing.T) {
		t.Setenv("KHOOK_RETENTION", "30d")
		if errs := start(""); !strings.Contains(errs, "find a cluster") {
			t.Error(errs)
		}
	})
	for text, want := range map[string]string{
		"retention: 7x": `--retention: "7x" is no duration: write it such as 90s, 2h or 7d`,
		"retention: 30": `--retention: "30" is no duration`,
		"retension: 7d": "--config " + file + `: there is no flag "retension"`,
		"retention: [":  "--config " + file + ": ",
	} {
		if errs := start(text); !strings.Contains(errs, want) {
			t.Errorf("%s: %s", text, errs)
		}
	}
}
