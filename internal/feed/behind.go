package feed

// Behind says whether what comes next must be read from the history, into memory of this reader's own:
// the tail begins later.
func (r *Reader) Behind() bool {
	r.feed.mu.Lock()
	defer r.feed.mu.Unlock()
	return r.position < r.feed.from
}

// Rewind lets the reader begin again after an earlier position, for what it read and did not keep.
func (r *Reader) Rewind(position int64) { r.position = min(r.position, position) }
