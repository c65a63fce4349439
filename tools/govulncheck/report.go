package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// report tells of all findings, and returns an error if one of them, or an exception, must not stay.
func report(out io.Writer, found []finding, exceptions []exception, now time.Time) error {
	failed, used := false, map[string]bool{}
	for _, f := range found {
		e := exceptionFor(f.id, exceptions)
		used[f.id] = true
		switch {
		case e != nil && !now.After(e.until):
			tell(out, "LET THROUGH until "+e.until.Format(time.DateOnly)+": "+e.reason, f)
		case f.fixed == "":
			tell(out, "VULNERABLE, AND THERE IS NO FIX YET", f)
		case e != nil:
			failed = true
			tell(out, "FAILED: its exception ended on "+e.until.Format(time.DateOnly), f)
		default:
			failed = true
			tell(out, "FAILED", f)
		}
	}
	for _, e := range exceptions {
		if !used[e.id] {
			fmt.Fprintf(out, "%s is let through, and not reachable any more: remove its line\n", e.id)
		}
	}
	if failed {
		return errVulnerable
	}
	return nil
}

// maxCalls bounds how much of the way to a vulnerable function is told.
const maxCalls = 12

func tell(out io.Writer, verdict string, f finding) {
	fmt.Fprintf(out, "\n%s\n  %s: %s\n  in %s %s; fixed in %s\n", verdict, f.id, f.summary, moduleName(f.module), f.version, fixedIn(f))
	calls := f.calls
	if len(calls) > maxCalls {
		calls = append(append([]string{}, calls[:maxCalls/2]...), append([]string{"..."}, calls[len(calls)-maxCalls/2:]...)...)
	}
	fmt.Fprintf(out, "  reached by %s\n", strings.Join(calls, "\n          -> "))
}

func moduleName(module string) string {
	if module == "stdlib" {
		return "Go's standard library"
	}
	return module
}

func fixedIn(f finding) string {
	switch {
	case f.fixed == "":
		return "no version"
	case f.module == "stdlib":
		return "Go " + strings.TrimPrefix(f.fixed, "v") + ": set it in the line toolchain of each go.mod"
	default:
		return f.fixed + ": go get " + f.module + "@" + f.fixed
	}
}
