package kube

import (
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"
)

// observedWatch passes a watch's events on and notes that they came, bookmarks and errors included.
type observedWatch struct {
	watch.Interface

	events   chan watch.Event
	stopped  chan struct{}
	stopOnce sync.Once
	owner    *objectWatch
}

func newObservedWatch(in watch.Interface, w *objectWatch) *observedWatch {
	o := &observedWatch{Interface: in, events: make(chan watch.Event), stopped: make(chan struct{}), owner: w}
	go o.run()
	return o
}

func (o *observedWatch) run() {
	defer close(o.events)
	defer o.owner.down(nil)
	for ev := range o.Interface.ResultChan() {
		if ev.Type == watch.Error {
			o.owner.down(fmt.Errorf("the API server ended the watch: %w", apierrors.FromObject(ev.Object)))
		} else {
			o.owner.heard(ev.Type != watch.Bookmark)
		}
		select {
		case o.events <- ev:
		case <-o.stopped:
			return
		}
	}
}

// ResultChan is the watch's events.
func (o *observedWatch) ResultChan() <-chan watch.Event { return o.events }

// Stop ends the watch.
func (o *observedWatch) Stop() {
	o.stopOnce.Do(func() { close(o.stopped) })
	o.Interface.Stop()
}
