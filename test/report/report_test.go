package report

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAReportReplacesWhatIsInItsPlaceOnly(t *testing.T) {
	file := filepath.Join(t.TempDir(), "doc.md")
	const before = "# Title\n<!-- written by make x: begin -->\nold\n<!-- written by make x: end -->\nrest\n"
	if err := os.WriteFile(file, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	text := func() (string, error) { return "new\n", nil }
	if err := Of("x").Write("KHOOK_NO_SUCH_REPORT", text); err != nil {
		t.Error(err)
	}
	t.Setenv("KHOOK_TEST_REPORT", file)
	for name, write := range map[string]func() error{
		"no such place": func() error { return Of("y").Write("KHOOK_TEST_REPORT", text) },
		"no text": func() error {
			return Of("x").Write("KHOOK_TEST_REPORT", func() (string, error) { return "", errors.New("no cluster") })
		},
	} {
		if err := write(); err == nil {
			t.Errorf("%s: no error", name)
		}
		if got, _ := os.ReadFile(file); string(got) != before {
			t.Errorf("%s: the file is now %q", name, got)
		}
	}
	if err := Of("x").Write("KHOOK_TEST_REPORT", text); err != nil {
		t.Error(err)
	}
	if got, _ := os.ReadFile(file); string(got) != strings.Replace(before, "old", "new", 1) {
		t.Errorf("the file is now %q", got)
	}
}
