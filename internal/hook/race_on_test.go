//go:build race

package hook

// overhead is how many times as much is allocated as without the race detector, at most: with it, sync.Pool
// drops at random what it is given back, so that the buffers of fmt and of parsers are made again and again.
const overhead = 4
