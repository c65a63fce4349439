package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/lint"
)

// validateCmd is khook validate.
type validateCmd struct {
	AgentNamespaces  []string `help:"Namespaces whose agents every Hook may call, as for the controller." default:"kagent" placeholder:"NS,..."`
	AllowPlainValues bool     `help:"Whether the controller lets Hooks ask for plain values, as its flag says."`
	Namespace        string   `short:"n" help:"Namespace of Hooks that name none." default:"default"`
	Output           string   `short:"o" help:"Form of the findings: text or json." default:"text" enum:"text,json"`
	Prompts          bool     `help:"Show what becomes of the prompts for a sample event."`
	Strict           bool     `help:"Take warnings for errors."`
	Filename         []string `short:"f" help:"The same as naming it, as for kubectl." placeholder:"FILE"`
	Files            []string `arg:"" optional:"" name:"file" help:"Files of Hooks in YAML or JSON, folders of them, or - for the standard input."`
}

// Help is shown below the flags.
func (validateCmd) Help() string {
	return `Checks Hooks by the rules of the CustomResourceDefinition and of the controller, without a cluster, and says what to change as FILE:LINE: error: FIELD: MESSAGE. Folders are searched for *.yaml, *.yml and *.json.

The exit code is 0 if all Hooks are good, 1 if there are errors, and 2 for wrong usage.`
}

// Validate refuses a file that is not there before anything is read.
func (c *validateCmd) Validate() error {
	if c.Files = append(c.Files, c.Filename...); len(c.Files) == 0 {
		return errors.New("name the files of Hooks, folders of them, or - for the standard input")
	}
	for _, path := range c.Files {
		if _, err := os.Stat(path); path != "-" && err != nil {
			return err
		}
	}
	return nil
}

// validatedFile is what was found in one file.
type validatedFile struct {
	File string `json:"file"`
	lint.Report
}

var errInvalid = errors.New("the Hooks need changes")

// Run checks the files and prints what was found.
func (c *validateCmd) Run(ctx context.Context, env Env) error {
	paths, err := c.paths()
	if err != nil {
		return err
	}
	found := make([]validatedFile, 0, len(paths))
	for _, path := range paths {
		report, err := c.check(ctx, path)
		if err != nil {
			return fmt.Errorf("validate %s: %w", path, err)
		}
		found = append(found, validatedFile{path, report})
	}
	if err := c.print(env.Out, found); err != nil {
		return err
	}
	if slices.ContainsFunc(found, func(f validatedFile) bool { return !f.Valid }) {
		return errInvalid
	}
	return nil
}

// paths are the files that are named, and those in the folders.
func (c *validateCmd) paths() ([]string, error) {
	var paths []string
	for _, named := range c.Files {
		if named == "-" {
			paths = append(paths, named)
			continue
		}
		before := len(paths)
		err := filepath.WalkDir(named, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() && (path == named || slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path))) {
				paths = append(paths, path)
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("look for Hooks in %s: %w", named, err)
		}
		if len(paths) == before {
			return nil, fmt.Errorf("look for Hooks in %s: there is no *.yaml, *.yml or *.json file in it", named)
		}
	}
	return paths, nil
}

// maxHooksText is one byte more than what lint.Check takes, so that it can refuse the text.
const maxHooksText = 1<<20 + 1

func (c *validateCmd) check(ctx context.Context, path string) (lint.Report, error) {
	in := io.ReadCloser(os.Stdin)
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return lint.Report{}, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxHooksText))
	if err != nil {
		return lint.Report{}, err
	}
	report := lint.Check(ctx, text, lint.Options{
		Policy: hook.Policy{AgentNamespaces: c.AgentNamespaces, PlainValues: c.AllowPlainValues}, Namespace: c.Namespace,
	})
	if c.Strict {
		report.Errors, report.Warnings = append(report.Errors, report.Warnings...), []lint.Finding{}
		report.Valid = len(report.Errors) == 0
	}
	return report, nil
}

func (c *validateCmd) print(out io.Writer, found []validatedFile) error {
	if c.Output == "json" {
		if !c.Prompts {
			for i := range found {
				found[i].Prompts = []lint.SamplePrompt{}
			}
		}
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(found)
	}
	var b strings.Builder
	var hooks, errs, warnings int64
	for _, f := range found {
		f.write(&b, c.Prompts)
		hooks, errs, warnings = hooks+int64(len(f.Hooks)), errs+int64(len(f.Errors)), warnings+int64(len(f.Warnings))
	}
	fmt.Fprintf(&b, "%s in %s: %s, %s\n", plural(hooks, "Hook"), plural(int64(len(found)), "file"), plural(errs, "error"), plural(warnings, "warning"))
	_, err := io.WriteString(out, b.String())
	return err
}

// write writes the findings in the form that editors can follow.
func (f validatedFile) write(b *strings.Builder, prompts bool) {
	name := f.File
	if name == "-" {
		name = "<stdin>"
	}
	tell := func(kind string, findings []lint.Finding) {
		for _, found := range findings {
			field := ""
			if found.Field != "" {
				field = found.Field + ": "
			}
			fmt.Fprintf(b, "%s:%d: %s: %s%s\n", name, max(1, found.Line), kind, field, found.Message)
		}
	}
	tell("error", f.Errors)
	tell("warning", f.Warnings)
	tell("note", f.Notes)
	if !prompts {
		return
	}
	for _, p := range f.Prompts {
		fmt.Fprintf(b, "\n%s %s calls %s:\n", p.Hook, p.Config, p.Agent)
		for line := range strings.Lines(strings.TrimRight(p.Prompt, "\n")) {
			fmt.Fprintf(b, "  | %s\n", strings.TrimRight(line, "\n"))
		}
	}
}
