package detect

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/watch"
)

// TestAClockThatIsOffMakesNoPodPendingAtOnce has a khook whose clock differs from the API server's, by which the Pod was made at
// noon, and that sees how it is made.
func TestAClockThatIsOffMakesNoPodPendingAtOnce(t *testing.T) {
	for _, skew := range []time.Duration{0, 61 * oneSecond, -61 * oneSecond, 20 * time.Minute, -20 * time.Minute} {
		s := newScene(t)
		s.now = noon.Add(skew)
		s.d = New(Timing{Start: s.now.Add(-startLag)})
		s.feed(watch.Added, false)
		s.wait(30 * oneSecond)
		s.put()
		s.wait(29 * oneSecond)
		if len(s.signals) > 0 {
			t.Errorf("a clock that is off by %s makes it pending within a minute: %v", skew, summaries(s.signals))
		}
		s.wait(2 * oneSecond)
		s.says("pod-pending web x1")
		if got := s.observed(); len(got) == 1 && (got[0].At.Sub(noon) != skew+time.Minute || got[0].CatchUp) {
			t.Errorf("a clock that is off by %s: at %s (catch-up: %v)", skew, got[0].At.Sub(noon), got[0].CatchUp)
		}
	}
}

// TestAClockThatIsOffTellsAPodOnceOverAStop stops khook before or after the Pod is told. What is listed then counts since the Pod
// was made, as far as that can be.
func TestAClockThatIsOffTellsAPodOnceOverAStop(t *testing.T) {
	for _, stop := range []time.Duration{30 * oneSecond, 2 * time.Minute} {
		for skew, first := range map[time.Duration]time.Duration{ // when it is told first by a khook that was stopped after 30 s
			0: time.Minute, 61 * oneSecond: 36 * oneSecond, 20 * time.Minute: 36 * oneSecond, -61 * oneSecond: 91 * oneSecond,
		} {
			s := newScene(t)
			s.now = noon.Add(skew)
			s.d = New(Timing{Start: s.now.Add(-startLag)})
			s.feed(watch.Added, false)
			s.wait(stop)
			s.restartKhook()
			s.wait(oneSecond)
			s.list()
			var at time.Duration
			for range 200 {
				if s.wait(oneSecond); at == 0 && len(s.observed()) > 0 {
					at = s.now.Sub(noon.Add(skew))
				}
			}
			if stop == 30*oneSecond && at != first {
				t.Errorf("off by %s, it is told after %s, want %s", skew, at, first)
			}
			told := map[string]bool{}
			for _, sig := range s.observed() {
				told[sig.Key] = true
			}
			if len(told) != 1 {
				t.Errorf("off by %s and stopped after %s, it is told under %d keys", skew, stop, len(told))
			}
		}
	}
}

// TestAPodThatIsSeenLateWaitsSinceItWasMade: after a break of the watch, or on a list, it may have waited for long.
func TestAPodThatIsSeenLateWaitsSinceItWasMade(t *testing.T) {
	for name, sees := range map[string]func(*scene){
		"in a list":              func(s *scene) { s.list() },
		"when the watch is back": func(s *scene) { s.feed(watch.Modified, false) },
		"as a recording begins":  func(s *scene) { s.feed(watch.Added, false) },
	} {
		s := newScene(t)
		s.now = noon.Add(5 * time.Minute)
		s.d = New(Timing{Start: s.now})
		sees(s)
		s.wait(6 * oneSecond) // the Events that may say why come
		s.says("pod-pending web x1")
		if got := s.observed(); len(got) == 1 && !got[0].At.Equal(noon.Add(time.Minute)) {
			t.Errorf("%s: it is late since %s", name, got[0].At)
		}
	}
}
