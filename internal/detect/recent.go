package detect

// recentKeys remembers a bounded number of Pods; the oldest are forgotten first.
type recentKeys struct {
	limit int
	set   map[podKey]bool
	order []podKey
}

func newRecentKeys(limit int) *recentKeys { return &recentKeys{limit: limit, set: map[podKey]bool{}} }

func (r *recentKeys) has(key podKey) bool { return r.set[key] }

func (r *recentKeys) add(key podKey) {
	if r.set[key] {
		return
	}
	if len(r.order) >= r.limit {
		delete(r.set, r.order[0])
		r.order = r.order[1:]
	}
	r.set[key] = true
	r.order = append(r.order, key)
}
