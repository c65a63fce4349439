package main

import "sync"

// report collects what the faults came to.
var report = &reliability{byDialect: map[string][]string{}}

type reliability struct {
	mu        sync.Mutex
	byDialect map[string][]string // the points of the undisturbed run
	results   []result
}

func (r *reliability) points(dialect string, points []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byDialect[dialect] = points
}

func (r *reliability) result(res result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.results = append(r.results, res)
}
