// Command govulncheck fails if a program calls a function with a known vulnerability that has been
// fixed since. It is golang.org/x/vuln's scanner with a verdict of khook's:
//
//   - reachable, and there is a version with the fix: the check fails
//   - reachable, and there is none: it is listed, and the check goes on
//   - in a module that is built in, but not reachable: it is not told
//
// The database is a folder of OSV reports, such as data/osv of the module golang.org/x/vulndb, so
// that the same commit always gives the same answer and no network is needed.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"golang.org/x/vuln/scan"
)

// options say what to check, and by what.
type options struct {
	database string   // folder of OSV reports
	allowed  string   // file of findings that are let through; none if empty
	modules  []string // folders of Go modules
	now      time.Time
}

// errVulnerable is returned when the check fails for a finding.
var errVulnerable = errors.New("known vulnerabilities that have been fixed since are reachable: take the versions named above")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "govulncheck:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o := options{now: time.Now()}
	flags := flag.NewFlagSet("govulncheck", flag.ContinueOnError)
	flags.StringVar(&o.database, "database", "", "folder of OSV reports, such as data/osv of golang.org/x/vulndb")
	flags.StringVar(&o.allowed, "allowed", "", "file of findings that are let through: an ID, a last day and the reason a line")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.modules = flags.Args(); o.database == "" || len(o.modules) == 0 {
		return errors.New("usage: govulncheck --database FOLDER [--allowed FILE] MODULE-FOLDER...")
	}
	return o.check(ctx, out)
}

// check scans all modules, tells of what is reachable, and gives errVulnerable if there is a fix for any of it.
func (o options) check(ctx context.Context, out io.Writer) error {
	exceptions, err := readExceptions(o.allowed, o.now)
	if err != nil {
		return err
	}
	reports, err := filepath.Glob(filepath.Join(o.database, "GO-*.json"))
	if err != nil || len(reports) == 0 { // the scanner takes an empty folder for a world without faults
		return fmt.Errorf("there are no reports such as GO-2026-1234.json in the folder %q (--database)", o.database)
	}
	var all []finding
	for _, module := range o.modules {
		found, err := o.scan(ctx, module)
		if err != nil {
			return fmt.Errorf("check %s: %w", module, err)
		}
		fmt.Fprintf(out, "%s: %d known vulnerabilities reachable, of %d reports in %s, with %s\n",
			module, len(found.reachable), len(reports), o.database, found.goVersion)
		all = append(all, found.reachable...)
	}
	return report(out, all, exceptions, o.now)
}

// scan looks at a module as khook's image has it: built for Linux, without cgo.
func (o options) scan(ctx context.Context, module string) (result, error) {
	database, err := filepath.Abs(o.database)
	if err != nil {
		return result{}, err
	}
	var stream, complaints bytes.Buffer
	cmd := scan.Command(ctx, "-format", "json", "-db", "file://"+filepath.ToSlash(database), "-C", module, "./...")
	cmd.Env = append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	cmd.Stdout, cmd.Stderr = &stream, &complaints
	if err := cmd.Start(); err != nil {
		return result{}, err
	}
	if err := cmd.Wait(); err != nil {
		return result{}, fmt.Errorf("%w\n%s", err, complaints.String())
	}
	return readStream(&stream)
}
