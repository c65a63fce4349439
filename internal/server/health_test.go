package server

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestTheWriterIsAskedOnceASecondForAll: who asks for the health or the diagnostics takes the turn of the history's writer,
// so that many who do would keep khook from recording.
func TestTheWriterIsAskedOnceASecondForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var found recent[int]
		asked := 0
		look := func(ctx context.Context) int {
			if _, limited := ctx.Deadline(); !limited || ctx.Err() != nil {
				t.Errorf("it may take for ever (%v), or ends with who asked (%v)", !limited, ctx.Err())
			}
			asked++
			return asked
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		for range 100 {
			if n := found.get(gone, look); n != 1 {
				t.Fatalf("asked %d times in the same second", n)
			}
		}
		time.Sleep(healthTTL + time.Nanosecond)
		if n := found.get(gone, look); n != 2 {
			t.Errorf("asked %d times in two seconds", n)
		}
	})
}
