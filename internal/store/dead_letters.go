package store

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/kagent-dev/khook/internal/incident"
)

// Bounds of the dead letters: beyond them the oldest are dropped.
const (
	MaxDeadLetters     = 1000
	MaxDeadLetterBytes = 8 << 20 // of all signals together
	maxDeadLetter      = 64 << 10
)

const deadLetterColumns = "id, first_at, last_at, times, fault, error, recorded, wanted, size, signal"

// PutDeadLetter keeps a letter, or counts it once more, and drops the oldest ones that are too many;
// it returns how many.
func (tx *Tx) PutDeadLetter(ctx context.Context, d *incident.DeadLetter) (dropped int, err error) {
	signal, err := deadSignal(d.Signal)
	if err != nil {
		return 0, fmt.Errorf("dead letter %s: %w", d.ID, err)
	}
	row := []any{
		d.ID, micros(d.FirstAt), micros(d.LastAt), d.Times, string(d.Fault), incident.Truncate(d.Error, incident.MaxDeadLetterError),
		boolInt(d.Recorded), boolInt(d.Wanted), int64(len(signal)), signal,
	}
	if err := tx.insert(ctx, "dead_letters", deadLetterColumns, [][]any{row}, " ON CONFLICT (cluster, id) DO UPDATE SET times = dead_letters.times + 1, "+
		"recorded = CASE WHEN excluded.recorded = 1 THEN 1 ELSE dead_letters.recorded END, "+updates(deadLetterColumns, "id", "first_at", "times", "recorded")); err != nil {
		return 0, err
	}
	return tx.boundDeadLetters(ctx)
}

// deadSignal is the signal as it is kept: without its labels if they are what makes it large.
func deadSignal(s incident.Signal) (string, error) {
	text, err := json.Marshal(storedSignal{Signal: s, PodAttributes: s.Attributes.Pod})
	if err == nil && len(text) > maxDeadLetter && s.Attributes.Pod != nil {
		pod := *s.Attributes.Pod // shared
		pod.Labels = nil
		text, err = json.Marshal(storedSignal{Signal: s, PodAttributes: &pod})
	}
	return string(text), err
}

// storedSignal is the JSON of a signal: the attributes of Pods stand among its other fields, as they
// always have.
type storedSignal struct {
	incident.Signal
	*incident.PodAttributes
	Attributes *struct{} `json:",omitempty"` // hides Signal.Attributes; always nil
}

// boundDeadLetters drops the oldest letters until the rest is within the bounds.
func (tx *Tx) boundDeadLetters(ctx context.Context) (dropped int, err error) {
	type measure struct{ rows, bytes int64 }
	for {
		found, err := rowsOf(ctx, tx, func(row scanner) (m measure, err error) { err = row.Scan(&m.rows, &m.bytes); return },
			"SELECT count(*), coalesce(sum(size), 0) FROM (SELECT size FROM dead_letters WHERE cluster = :cluster ORDER BY last_at LIMIT ?) AS counted", MaxDeadLetters+1)
		if err != nil || len(found) == 0 || found[0].rows <= MaxDeadLetters && found[0].bytes <= MaxDeadLetterBytes {
			return dropped, err
		}
		n, err := tx.exec(ctx, "DELETE FROM dead_letters WHERE cluster = :cluster AND id IN (SELECT id FROM dead_letters WHERE cluster = :cluster ORDER BY last_at, id LIMIT ?)", 1)
		if dropped += int(n); err != nil || n == 0 {
			return dropped, err
		}
	}
}

// DropDeadLetter removes a letter that is settled.
func (tx *Tx) DropDeadLetter(ctx context.Context, id string) error {
	_, err := tx.exec(ctx, "DELETE FROM dead_letters WHERE cluster = :cluster AND id = ?", id)
	return err
}

// DeadLetters returns the newest letters, the newest first.
func (s *Store) DeadLetters(ctx context.Context, limit int) ([]*incident.DeadLetter, error) {
	return readAll(ctx, s.core, "dead letters", scanDeadLetter, "SELECT "+deadLetterColumns+" FROM dead_letters WHERE cluster = :cluster ORDER BY last_at DESC, id DESC LIMIT ?", limit)
}

// WantedDeadLetters returns the letters that are to be tried again, the oldest first.
func (s *Store) WantedDeadLetters(ctx context.Context, limit int) ([]*incident.DeadLetter, error) {
	return readAll(ctx, s.core, "dead letters that are wanted", scanDeadLetter,
		"SELECT "+deadLetterColumns+" FROM dead_letters WHERE wanted = 1 AND cluster = :cluster ORDER BY last_at LIMIT ?", limit)
}

// ReplayDeadLetters asks the leader to try letters again: those with the IDs, or all if there are
// none. It returns how many there are.
func (s *Store) ReplayDeadLetters(ctx context.Context, ids ...string) (int, error) {
	return s.changeDeadLetters(ctx, "UPDATE dead_letters SET wanted = 1 WHERE cluster = :cluster AND", ids)
}

// DropDeadLetters deletes letters: those with the IDs, or all if there are none. It returns how many
// there were.
func (s *Store) DropDeadLetters(ctx context.Context, ids ...string) (int, error) {
	return s.changeDeadLetters(ctx, "DELETE FROM dead_letters WHERE cluster = :cluster AND", ids)
}

func (s *Store) changeDeadLetters(ctx context.Context, change string, ids []string) (changed int, err error) {
	err = s.Write(ctx, func(tx *Tx) error {
		changed = 0
		if len(ids) == 0 {
			n, err := tx.exec(ctx, change+" id IN (SELECT id FROM dead_letters WHERE cluster = :cluster ORDER BY last_at LIMIT ?)", MaxDeadLetters+1)
			changed = int(n)
			return err
		}
		return inBatches(len(ids), func(from, to int) error {
			n, err := tx.exec(ctx, change+" id IN ("+placeholders(to-from)+")", anys(ids[from:to])...)
			changed += int(n)
			return err
		})
	})
	if err != nil {
		return 0, fmt.Errorf("change the dead letters: %w", err)
	}
	return changed, nil
}

func scanDeadLetter(row scanner) (*incident.DeadLetter, error) {
	d := &incident.DeadLetter{}
	var signal string
	var firstAt, lastAt, recorded, wanted, size int64
	err := row.Scan(&d.ID, &firstAt, &lastAt, &d.Times, &d.Fault, &d.Error, &recorded, &wanted, &size, &signal)
	if err != nil {
		return nil, err
	}
	d.FirstAt, d.LastAt, d.Recorded, d.Wanted = fromMicros(firstAt), fromMicros(lastAt), recorded != 0, wanted != 0
	stored := storedSignal{}
	if err := json.Unmarshal([]byte(signal), &stored); err != nil { // it must not hide the others
		stored, d.Error = storedSignal{}, "what was put aside can't be read: "+err.Error()
	}
	d.Signal = stored.Signal
	d.Signal.Attributes.Pod = stored.PodAttributes
	return d, nil
}
