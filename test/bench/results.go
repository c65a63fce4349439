package main

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// result is what one or more lines say about a benchmark: benchmarks that differ only below the second
// part of their name are one result.
type result struct {
	name  string
	units []string // in the order in which they came
	low   map[string]float64
	high  map[string]float64
}

// readAll reads what "go test -bench" has printed into some files.
func readAll(files []string) ([]*result, error) {
	var results []*result
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		results, err = read(file, results)
		_ = file.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if len(results) == 0 {
		return nil, fmt.Errorf("no benchmark in %q", files)
	}
	return results, nil
}

// processors is what Go puts behind a benchmark's name.
var processors = regexp.MustCompile(`-\d+$`)

// read adds the benchmarks of an input to results. A benchmark that failed is an error.
func read(in io.Reader, results []*result) ([]*result, error) {
	known := map[string]*result{}
	for _, r := range results {
		known[r.name] = r
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if strings.HasPrefix(strings.TrimSpace(lines.Text()), "--- FAIL") || strings.HasPrefix(lines.Text(), "FAIL") {
			return nil, fmt.Errorf("a benchmark failed: %s", lines.Text())
		}
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		if _, err := strconv.Atoi(fields[1]); err != nil {
			continue
		}
		name := grouped(strings.TrimPrefix(processors.ReplaceAllString(fields[0], ""), "Benchmark"))
		r := known[name]
		if r == nil {
			r = &result{name: name, low: map[string]float64{}, high: map[string]float64{}}
			known[name], results = r, append(results, r)
		}
		for i := 2; i+1 < len(fields); i += 2 {
			if err := r.add(fields[i], fields[i+1]); err != nil {
				return nil, fmt.Errorf("%s: %w", lines.Text(), err)
			}
		}
	}
	return results, lines.Err()
}

// grouped is a name without what is below its second part.
func grouped(name string) string {
	parts := strings.SplitN(name, "/", 3)
	return strings.Join(parts[:min(2, len(parts))], "/")
}

func (r *result) add(value, unit string) error {
	v, err := strconv.ParseFloat(value, 64)
	if err != nil {
		return err
	}
	if _, ok := r.low[unit]; !ok {
		r.units = append(r.units, unit)
		r.low[unit], r.high[unit] = v, v
	}
	r.low[unit], r.high[unit] = min(r.low[unit], v), max(r.high[unit], v)
	return nil
}

// table is what a document shows: one row for each benchmark.
func table(results []*result) string {
	var b strings.Builder
	b.WriteString("| benchmark | figures |\n| --- | --- |\n")
	for _, r := range results {
		fmt.Fprintf(&b, "| `%s` | %s |\n", r.name, strings.Join(r.figures(), "; "))
	}
	return b.String()
}

// general are the units of every benchmark, which one with figures of its own is not about.
var general = map[string]bool{"ns/op": true, "B/op": true, "allocs/op": true}

func (r *result) figures() []string {
	var own, all []string
	for _, unit := range r.units {
		figure := number(r.low[unit])
		if high := number(r.high[unit]); high != figure {
			figure += " to " + high
		}
		all = append(all, figure+" "+unit)
		if !general[unit] {
			own = append(own, figure+" "+unit)
		}
	}
	if len(own) > 0 {
		return own
	}
	return all
}

// number is a figure with three significant digits, and commas between thousands.
func number(v float64) string {
	if v == 0 {
		return "0"
	}
	scale := math.Pow(10, math.Floor(math.Log10(math.Abs(v)))-2)
	v = math.Round(v/scale) * scale
	if math.Abs(v) < 100 {
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	digits := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
