//go:build !race

package hook

// overhead is how many times as much is allocated as without the race detector.
const overhead = 1
