package store

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

func TestManyWriteAndReadAtOnce(t *testing.T) {
	for name, file := range map[string]string{"file": newPath(t), "memory": ":memory:"} {
		t.Run(name, func(t *testing.T) {
			st := openStore(t, file)
			const writers, each = 4, 50
			failed := make(chan error, 100)
			ctx, stop := context.WithCancel(t.Context())
			var reading, writing sync.WaitGroup
			for range 6 {
				reading.Go(func() {
					for ctx.Err() == nil {
						if err := readEverything(t.Context(), st); err != nil {
							failed <- err
							return
						}
					}
				})
			}
			for w := range writers {
				writing.Go(func() {
					for i := range each {
						if err := save(t.Context(), st, fmt.Sprintf("k%d-%d", w, i)); err != nil {
							failed <- err
							return
						}
					}
				})
			}
			writing.Go(func() {
				_, err := st.Prune(t.Context(), time.Now().Add(-time.Hour))
				failed <- errors.Join(err, st.Check(t.Context()))
			})
			writing.Wait()
			stop()
			reading.Wait()
			close(failed)
			for err := range failed {
				if err != nil {
					t.Error(err)
				}
			}
			if n := count(t, st, "events"); n != writers*each {
				t.Errorf("%d events of %d", n, writers*each)
			}
		})
	}
}

func readEverything(ctx context.Context, st *Store) error {
	all, err := st.OpenIncidents(ctx)
	if err != nil {
		return err
	}
	last, err := st.LastChange(ctx)
	if err != nil {
		return err
	}
	if last < int64(2*len(all)) { // each incident took two numbers, and is read first
		return fmt.Errorf("%d incidents with %d changes", len(all), last)
	}
	_, err = st.HookIncidents(ctx, delivery.HookRef{Namespace: "shop", Name: "h"}, time.Now(), 10)
	return err
}

func TestManyOpenANewFileAtOnce(t *testing.T) {
	file := newPath(t)
	var opening sync.WaitGroup
	for i := range 6 {
		opening.Go(func() {
			st, err := Open(t.Context(), Config{Engine: pgtest.Engine(t, file), Path: file})
			if err != nil {
				t.Error(err)
				return
			}
			defer st.Close()
			if err := save(t.Context(), st, fmt.Sprintf("k%d", i)); err != nil {
				t.Error(err)
			}
		})
	}
	opening.Wait()
	if n := count(t, openStore(t, file), "events"); n != 6 {
		t.Errorf("%d events of 6", n)
	}
}

func TestTwoProcessesNeverRecordOneKeyTwice(t *testing.T) {
	file := newPath(t)
	st := openStore(t, file)
	other := exec.CommandContext(t.Context(), os.Args[0])
	other.Env = append(os.Environ(), asWriter+"="+cmp.Or(pgtest.URL(t, file), file))
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || !strings.HasPrefix(line, "wrote") {
		t.Fatal(line, err)
	}
	mine, theirs := 0, 0
	for i := 0; i < 300; {
		err := save(t.Context(), st, fmt.Sprintf("k%d", i*i)) // it writes k0, k1, k2 and so on, until it meets one of these
		if err != nil && strings.Contains(err.Error(), "another process has it locked") {
			continue // turns are not fair: it wrote again and again for as long as one waits for the lock
		}
		i++
		switch {
		case err == nil:
			mine++
		case strings.Contains(err.Error(), "recorded already"):
			theirs++
		default:
			t.Fatal(err)
		}
	}
	_ = other.Process.Kill()
	_ = other.Wait()
	if t.Logf("%d keys were first written here, %d by the other process", mine, theirs); mine == 0 || theirs == 0 {
		t.Error("they never met")
	}
	if n, keys := count(t, st, "events"), count(t, st, "(SELECT DISTINCT event_key, cluster FROM events) AS keys"); n != keys || n != count(t, st, "incidents") {
		t.Errorf("%d events with %d keys, %d incidents", n, keys, count(t, st, "incidents"))
	}
	if n, last := count(t, st, "changes"), int64(2*count(t, st, "events")); int64(n) != last {
		t.Errorf("%d changes, want %d", n, last)
	}
}

func TestDamageThatIsFoundLaterIsTold(t *testing.T) {
	pgtest.OnlySQLite(t)
	file := newPath(t)
	st := openStore(t, file)
	for i := range 300 {
		if err := save(t.Context(), st, fmt.Sprintf("k%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	st = openStore(t, file)
	f, err := os.OpenFile(filepath.Clean(file), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, info.Size()-2*4096), 2*4096); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = st.AllIncidents(t.Context(), 1000)
	says(t, err, "the file is damaged: move it away")
	says(t, save(t.Context(), st, "later"), "the file is damaged")
	says(t, st.Check(t.Context()), "the file is damaged")
}
