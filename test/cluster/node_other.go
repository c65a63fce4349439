//go:build !linux

package main

import (
	"context"
	"errors"
)

const nodeCommand = "node"

var errNoNode = errors.New("--node needs Linux")

func (c *cluster) startNode(context.Context) error { return errNoNode }
func runNode(string) error                         { return errNoNode }
func removeNode() error                            { return nil }
