//go:build !race

package capacitytest

// Raced says whether the race detector is in the binary: it makes everything larger and slower.
const Raced = false

// overhead is how many times as much is allocated as without the race detector: as much.
const overhead = 1
