package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// least is by how much a figure must have grown to be judged at all: an allocation or two, or some bytes,
// come and go with the runtime.
var least = map[string]float64{"allocs/op": 2, "B/op": 64}

// compare reads benchstat's CSV of a baseline and of a new run. It is an error if a figure is worse than
// the baseline's by more than limit, in percent, or if a benchmark of the baseline is missing.
func compare(in io.Reader, out io.Writer, limit float64) error {
	rows := csv.NewReader(in)
	rows.FieldsPerRecord = -1
	unit, compared, bad := "", 0, 0
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read benchstat's CSV: %w", err)
		}
		if len(row) < 4 || row[0] == "geomean" {
			continue
		}
		if row[0] == "" {
			unit = row[1] // a table's head; the row of file names before it has none that follows
			continue
		}
		before, err := strconv.ParseFloat(row[1], 64)
		if err != nil {
			continue // a benchmark that the baseline has not
		}
		compared++
		now, err := strconv.ParseFloat(row[3], 64)
		switch {
		case err != nil:
			bad++
			fmt.Fprintf(out, "%s: %s is missing, and the baseline has it\n", row[0], unit)
		case now > before*(1+limit/100) && now-before > least[unit]:
			bad++
			fmt.Fprintf(out, "%s: %s %s, %s in the baseline (+%.0f %%)\n", row[0], number(now), unit, number(before), (now/before-1)*100)
		}
	}
	if compared == 0 {
		return errors.New("nothing was compared: is there a baseline?")
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d figures are worse than the baseline by more than %g %%; if that is meant, run \"make bench-baseline\" and commit it with the reason", bad, compared, limit)
	}
	fmt.Fprintf(out, "%d figures, none worse than the baseline by more than %g %%\n", compared, limit)
	return nil
}
