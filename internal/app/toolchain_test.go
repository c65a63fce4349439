package app

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestTheGoThatKhookWarnsByIsThatOfGoMod(t *testing.T) {
	text, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^toolchain (\S+)$`).FindSubmatch(text)
	if found == nil || string(found[1]) != patchedGo {
		t.Errorf("go.mod's toolchain is %q, and patchedGo is %q: they change together", found, patchedGo)
	}
}

func TestAKhookBuiltByAnOlderGoSaysSo(t *testing.T) {
	for built, warns := range map[string]bool{
		"go1.26.0": true, "go1.26.8": true, "go1.26.10": true, "go1.25.99": true, "go1.26.8-vendor": true, "go1.26rc1": true,
		"go1.26.8 X:nogreenteagc": true, "devel go1.25-abcdef Thu Jan 1 00:00:00 2026 +0000": true,
		patchedGo: false, "go1.26.11 X:nogreenteagc": false, "go1.26.12": false, "go1.27.0": false, "go1.27rc1": false,
		"devel go1.28-abcdef Thu Jan 1 00:00:00 2026 +0000": false, "devel": false, "": false,
	} {
		var out bytes.Buffer
		warnOfOldGo(newLog(&out, "info", "text"), built)
		if got := strings.Contains(out.String(), "built by an older Go"); got != warns {
			t.Errorf("built by %q: it says %q", built, out.String())
		}
		if warns && (!strings.Contains(out.String(), patchedGo) || !strings.Contains(out.String(), built)) {
			t.Errorf("built by %q: it does not name both: %q", built, out.String())
		}
	}
}
