// Command bench reads what benchmarks print. "bench report FILE..." writes the figures into the document
// that KHOOK_BENCH_REPORT names; "bench compare --limit 10" reads benchstat's CSV of a baseline and of a new
// run from its input, and fails if a count or a size got worse by more than the limit.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/kagent-dev/khook/test/report"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string, in io.Reader, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("say what to do: report or compare")
	}
	flags := flag.NewFlagSet("bench "+args[0], flag.ContinueOnError)
	switch args[0] {
	case "report":
		version := flags.String("version", "devel", "khook's version, with its commit")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return report.Of("bench-report").Write("KHOOK_BENCH_REPORT", func() (string, error) {
			results, err := readAll(flags.Args())
			if err != nil {
				return "", err
			}
			return conditions(time.Now(), *version) + table(results), nil
		})
	case "compare":
		limit := flags.Float64("limit", 10, "how much worse a figure may get, in percent")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return compare(in, out, *limit)
	}
	return fmt.Errorf("%q is neither report nor compare", args[0])
}
