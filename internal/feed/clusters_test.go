package feed

import (
	"context"
	"errors"
	"testing"

	"github.com/go-logr/logr"

	"github.com/kagent-dev/khook/internal/store"
)

// TestAFeedOfAClusterLivesAsLongAsItIsRead, is one for all who read it, and there are not more of them than allowed.
func TestAFeedOfAClusterLivesAsLongAsItIsRead(t *testing.T) {
	st, err := store.Open(t.Context(), store.Config{Path: ":memory:"})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	made := 0
	c := &Clusters{Most: 1, New: func(h History) *Feed {
		made++
		return New(Config{History: h, Log: logr.Discard()})
	}}
	first, leaveFirst, err := c.Enter(1, st)
	if err != nil {
		t.Fatal(err)
	}
	second, leaveSecond, err := c.Enter(1, st)
	if err != nil || first != second || made != 1 {
		t.Fatalf("%v, %d feeds", err, made)
	}
	if _, _, err := c.Enter(2, st); !errors.Is(err, ErrTooManyClusters) {
		t.Errorf("another cluster: %v", err)
	}
	leaveFirst()
	leaveFirst() // which counts once
	if _, err := second.Read(t.Context(), Filter{}, End); err != nil {
		t.Errorf("it does not live while the second reads: %v", err)
	}
	leaveSecond()
	third, leaveThird, err := c.Enter(2, st)
	if err != nil || third == first {
		t.Fatalf("after all have left: %v", err)
	}
	defer leaveThird()
	if _, err := third.Read(context.WithoutCancel(t.Context()), Filter{}, End); err != nil {
		t.Error(err)
	}
}
