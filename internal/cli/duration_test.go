package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestDurationsMayHaveDays(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"7d": 168 * time.Hour, "1d12h": 36 * time.Hour, "0.5d": 12 * time.Hour, "90s": 90 * time.Second, "1h30m": 90 * time.Minute, "0": 0, "-1d": -24 * time.Hour,
	} {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "7", "d", "7w", "7 d", "1d2", "d7", "9999999999d", "1.2.3d"} {
		if got, err := parseDuration(text); err == nil || !strings.Contains(err.Error(), "write it such as 90s, 2h or 7d") {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
}

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
