//go:build race

package capacitytest

// Raced says whether the race detector is in the binary: it makes everything larger and slower.
const Raced = true
