package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// home is the folder by which a cluster is found again. Its lock is held for as long as the
// cluster's program lives, and its record says what was made, before it is made. So what a killed
// run left is known, and known to be nobody's.
type home struct {
	path   string
	held   *os.File // the lock
	record *os.File
}

// entry is a line of the record.
type entry struct {
	Dir     string `json:"dir,omitempty"`     // folder of the cluster's data and logs
	Made    string `json:"made,omitempty"`    // a folder that was missing; to be removed if empty
	Node    bool   `json:"node,omitempty"`    // there are a node's cgroups and bridge
	PID     int    `json:"pid,omitempty"`     // a process, with the time when
	Started string `json:"started,omitempty"` // it started
}

const (
	recordName = "made.jsonl"
	tempPrefix = "khook-cluster-"
	nodeHome   = "/var/lib/khook-test-node" // always the same: a machine can have one node
	// endGrace is how long processes that a command left may take to end.
	endGrace = 3 * time.Second
)

// claim takes the folder, which is made if it is missing. It waits for another run that has it,
// and removes what a killed one left in it.
func claim(ctx context.Context, path string) (*home, error) {
	for {
		err := os.Mkdir(path, 0o700)
		made := err == nil
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		held, err := lock(ctx, filepath.Join(path, lockName), "another run has its cluster in "+path+": waiting for its end")
		if errors.Is(err, fs.ErrNotExist) {
			continue // the other run has removed the folder
		}
		if err != nil {
			return nil, err
		}
		h := &home{path: path, held: held}
		return h, h.begin(made)
	}
}

func (h *home) begin(made bool) error {
	earlier, err := readRecord(h.path)
	if err != nil {
		return err
	}
	made = made || h.path == nodeHome
	if len(earlier) > 0 {
		say("removing what a killed run left in %s", h.path)
		made = made || slices.Contains(earlier, entry{Made: h.path})
		if err := remove(h.path, earlier, false, false); err != nil {
			return fmt.Errorf("remove what a killed run left: %w", err)
		}
	}
	h.record, err = os.OpenFile(filepath.Join(h.path, recordName), os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_APPEND, 0o600)
	if err == nil && made {
		err = h.note(entry{Made: h.path})
	}
	return err
}

// note writes down what is about to be made.
func (h *home) note(e entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	_, err = h.record.Write(append(line, '\n'))
	return err
}

// makeDir makes a folder outside of the cluster's own, if it is missing.
func (h *home) makeDir(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := h.makeDir(filepath.Dir(path)); err != nil {
		return err
	}
	if err := h.note(entry{Made: path}); err != nil {
		return err
	}
	return os.Mkdir(path, 0o755)
}

// leave removes all that was made, with keep all but data and logs.
func (h *home) leave(keep bool) error {
	defer h.held.Close()
	entries, err := readRecord(h.path)
	if err != nil {
		return err
	}
	if err := remove(h.path, entries, true, keep); err != nil {
		return err
	}
	return forget(h.path, entries)
}

// remove ends and removes what the record names, but for the home itself.
func remove(path string, entries []entry, adopted, keep bool) error {
	dir, node := path, false
	for _, e := range entries {
		if e.Dir != "" {
			dir = e.Dir
		}
		node = node || e.Node
	}
	err := endProcesses(func() []process { return belonging(dir, entries, adopted) }, endGrace)
	if node {
		err = errors.Join(err, removeNode())
	}
	if err != nil || keep {
		return errors.Join(err, removeMade(entries, path))
	}
	return errors.Join(empty(dir), removeMade(entries, path))
}

// empty removes all in the folder but a home's lock and record.
func empty(dir string) error {
	found, err := os.ReadDir(dir)
	if err != nil {
		return ignoreMissing(err)
	}
	var errs []error
	for _, f := range found {
		if f.Name() != lockName && f.Name() != recordName {
			errs = append(errs, os.RemoveAll(filepath.Join(dir, f.Name())))
		}
	}
	return errors.Join(errs...)
}

// removeMade removes folders that were made and are empty.
func removeMade(entries []entry, but string) error {
	for _, e := range slices.Backward(entries) {
		if e.Made == "" || e.Made == but {
			continue
		}
		if err := os.Remove(e.Made); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTEMPTY) {
			return err
		}
	}
	return nil
}

// forget removes the home's record and lock, and the home itself, if it was made and is empty.
func forget(path string, entries []entry) error {
	err := errors.Join(ignoreMissing(os.Remove(filepath.Join(path, recordName))), ignoreMissing(os.Remove(filepath.Join(path, lockName))))
	if err != nil {
		return err
	}
	if slices.Contains(entries, entry{Made: path}) {
		return removeMade([]entry{{Made: path}}, "")
	}
	return nil
}

// readRecord reads what was made. A last line that was cut off by a crash says nothing yet.
func readRecord(path string) ([]entry, error) {
	name := filepath.Join(path, recordName)
	info, err := os.Lstat(name)
	if err != nil {
		return nil, ignoreMissing(err)
	}
	if !ownedByUs(info) { // it says what to kill and to remove
		return nil, fmt.Errorf("%s is another user's: not trusted", name)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var entries []entry
	for line := range bytes.Lines(text) {
		var e entry
		if json.Unmarshal(line, &e) == nil {
			entries = append(entries, e)
		}
	}
	return entries, nil
}

func ownedByUs(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}

// sweep removes what killed runs left in folders that no run has claimed.
func sweep() {
	left, _ := filepath.Glob(filepath.Join(os.TempDir(), tempPrefix+"*"))
	for _, path := range append(left, nodeHome) {
		info, err := os.Lstat(path)
		if err != nil || !info.IsDir() || !ownedByUs(info) {
			continue
		}
		if err := sweepHome(path); err != nil {
			say("can't remove what a killed run left in %s: %v", path, err)
		}
	}
}

func sweepHome(path string) error {
	held, err := tryLock(filepath.Join(path, lockName), 0)
	if errors.Is(err, errLocked) || errors.Is(err, fs.ErrNotExist) {
		return nil // a run has it, or it was kept
	}
	if err != nil {
		return err
	}
	defer held.Close()
	entries, err := readRecord(path)
	if err != nil {
		return err
	}
	say("removing what a killed run left in %s", path)
	return errors.Join(remove(path, entries, false, false), forget(path, entries))
}
