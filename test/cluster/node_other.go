//go:build !linux

package main

import (
	"context"
	"errors"
)

type node struct{}

func (c *cluster) startNode(context.Context) error { return errors.New("--node needs Linux") }
func (n *node) stop() error                        { return nil }
func unmountPoint(string) error                    { return nil }
func removeBridge() error                          { return nil }
