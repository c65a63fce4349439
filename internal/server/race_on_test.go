//go:build race

package server

// raced says that the race detector is built in, which makes stacks and objects larger.
const raced = true
