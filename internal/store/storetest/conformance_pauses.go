package storetest

import (
	"context"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/store"
)

// pauses: what people have paused is there until they resume it, or it is over, for khook and for people.
func (s *suite) pauses() {
	ctx := s.Context()
	all := delivery.Pause{Reason: "it does harm", By: "ann", At: start, Cancel: true}
	hour := delivery.Pause{PauseScope: delivery.PauseScope{Namespace: "shop", Hook: "h"}, By: "ben", At: start, Ends: start.Add(time.Hour)}
	change := func(what string, do func(tx *store.Tx) error, want ...delivery.Pause) {
		s.Helper()
		s.must(s.st.Write(ctx, do))
		for _, read := range []func(context.Context) (delivery.Pauses, error){s.st.Pauses, s.st.Reader().Pauses} {
			got, err := read(ctx)
			s.must(err)
			s.same(what, want, []delivery.Pause(got))
		}
	}
	change("one scope", func(tx *store.Tx) error { return tx.SavePause(ctx, &hour) }, hour)
	change("another one", func(tx *store.Tx) error { return tx.SavePause(ctx, &delivery.Pause{By: "former", At: start}) }, delivery.Pause{By: "former", At: start}, hour)
	change("one that is replaced", func(tx *store.Tx) error { return tx.SavePause(ctx, &all) }, all, hour)
	change("before an end", func(tx *store.Tx) error { return tx.EndPausesBy(ctx, hour.Ends.Add(-time.Second)) }, all, hour)
	change("a scope that is not paused", s.ends(delivery.PauseScope{Namespace: "shop"}, false), all, hour)
	change("at the end of one", func(tx *store.Tx) error { return tx.EndPausesBy(ctx, hour.Ends) }, all)
	change("the end of all", s.ends(all.PauseScope, true))
}

// ends ends a pause, and checks whether there was one.
func (s *suite) ends(scope delivery.PauseScope, want bool) func(*store.Tx) error {
	return func(tx *store.Tx) error {
		ended, err := tx.EndPause(s.Context(), scope)
		s.same("whether it was paused", want, ended)
		return err
	}
}
