package store

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// pace bounds how many numbers of the change sequence a leader gives out: a token bucket that begins anew with each term.
//
// Invariant: in t seconds of a term there are at most numbersAtOnce + t * numbersASecond numbers, and those of one more transaction. What a
// new term leaves out relies on it: without the bound, a number could be given to two changes.
//
// It goes by the clock that nobody sets.
type pace struct {
	bucket atomic.Pointer[rate.Limiter] // nil of a store that does not lead
	until  atomic.Pointer[time.Time]    // when the next transaction may begin; nil for at once
}

func (p *pace) begin() {
	p.until.Store(nil)
	p.bucket.Store(rate.NewLimiter(numbersASecond, numbersAtOnce))
}

// spend counts numbers that were given out.
func (p *pace) spend(numbers int64) {
	bucket, now := p.bucket.Load(), time.Now()
	for bucket != nil && numbers > 0 {
		n := min(numbers, numbersAtOnce)
		numbers -= n
		if ahead := bucket.ReserveN(now, int(n)).DelayFrom(now); ahead > 0 {
			until := now.Add(ahead)
			p.until.Store(&until)
		}
	}
}

// wait waits until another transaction may begin.
func (p *pace) wait(ctx context.Context) error {
	until := p.until.Load()
	if until == nil || !time.Now().Before(*until) {
		return nil
	}
	select {
	case <-time.After(time.Until(*until)):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("more is recorded than %d changes a second, and this one waits: %w", numbersASecond, ctx.Err())
	}
}
