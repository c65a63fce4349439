//go:build race

package capacitytest

// Raced says whether the race detector is in the binary: it makes everything larger and slower.
const Raced = true

// overhead is how many times as much is allocated as without the race detector, at most.
const overhead = 4
