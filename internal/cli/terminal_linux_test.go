package cli

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kagent-dev/khook/internal/api"
)

// onTerminal is what a command prints on a terminal that has so many columns.
func onTerminal(t *testing.T, columns uint16, args ...string) string {
	t.Helper()
	monitor, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer monitor.Close()
	n, err := unix.IoctlGetInt(int(monitor.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Skip(err)
	}
	if err := unix.IoctlSetPointerInt(int(monitor.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	if err := unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
		t.Fatal(err)
	}
	shown := make(chan string)
	go func() {
		text, _ := io.ReadAll(monitor) // ends with an error once nobody has the terminal any more
		shown <- string(text)
	}()
	var errs bytes.Buffer
	if code := Main(t.Context(), args, Env{Out: tty, Err: &errs}); code != 0 {
		t.Errorf("%v: %d %s", args, code, errs.String())
	}
	_ = tty.Close()
	return strings.ReplaceAll(<-shown, "\r\n", "\n")
}

func TestCLIColorsOnATerminal(t *testing.T) {
	url := answers(t, func(*http.Request) any {
		return api.Page[api.Incident]{Items: []api.Incident{{ID: anID, Status: "firing", Subject: api.Subject{Message: strings.Repeat("memory ", 40)}}}}
	})
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	shown := onTerminal(t, 100, "incidents", "--server", url)
	if !strings.Contains(shown, "\x1b[31mfiring\x1b[0m") {
		t.Errorf("%q", shown)
	}
	for line := range strings.Lines(colorCodes.ReplaceAllString(shown, "")) {
		if got := breadth(strings.TrimSuffix(line, "\n")); got > 100 || strings.HasPrefix(line, "5013") && got != 100 {
			t.Errorf("%d columns: %s", got, line)
		}
	}
	t.Setenv("NO_COLOR", "1")
	if shown := onTerminal(t, 100, "incidents", "--server", url); strings.Contains(shown, "\x1b") {
		t.Errorf("%q", shown)
	}
}

func TestCLIAsksTheTerminalHowWideItIs(t *testing.T) {
	url := answers(t, func(*http.Request) any {
		return api.Page[api.Event]{Total: 1, Items: []api.Event{{ID: 7, Subject: api.Subject{Namespace: "订单服务", Message: strings.Repeat("内存", 40)}}}}
	})
	t.Setenv("NO_COLOR", "1")
	for _, columns := range []uint16{60, 90, 120} {
		for line := range strings.Lines(onTerminal(t, columns, "events", "--server", url)) {
			if got := breadth(strings.TrimSuffix(line, "\n")); got > int(columns) || strings.HasPrefix(line, "7") && got < int(columns)-1 {
				t.Errorf("%d columns: %d\n%s", columns, got, line)
			}
		}
		if wide := onTerminal(t, columns, "events", "--server", url, "-o", "wide"); !strings.Contains(wide, strings.Repeat("内存", 40)) {
			t.Errorf("-o wide: %s", wide)
		}
	}
	if _, out, _ := khook(t, "events", "--server", url); !strings.Contains(out, strings.Repeat("内存", 40)) {
		t.Errorf("into a file: %s", out)
	}
}
