// Package report puts what a test run found into its place in a document.
package report

import (
	"bytes"
	"fmt"
	"os"
)

// Place is where the report of a make target is in a document: between two marks.
type Place struct{ begin, end string }

// Of is the place of a target's report.
func Of(target string) Place {
	mark := func(what string) string { return "<!-- written by make " + target + ": " + what + " -->\n" }
	return Place{mark("begin"), mark("end")}
}

// Write puts a text into the file that an environment variable names; it does nothing if the
// variable is empty. A file without the place is an error, and is left as it is.
func (p Place) Write(variable string, text func() (string, error)) error {
	file := os.Getenv(variable)
	if file == "" {
		return nil
	}
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, begins := bytes.Cut(old, []byte(p.begin))
	_, after, ends := bytes.Cut(rest, []byte(p.end))
	if !begins || !ends {
		return fmt.Errorf("%s has no place for the report: %q and %q", file, p.begin, p.end)
	}
	made, err := text()
	if err != nil {
		return err
	}
	return os.WriteFile(file, []byte(string(before)+p.begin+made+p.end+string(after)), 0o600)
}
