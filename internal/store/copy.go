package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/kagent-dev/khook/internal/store/engine"
	"github.com/kagent-dev/khook/internal/store/sqlite"
)

// CopyConfig says which histories are copied, and where to.
type CopyConfig struct {
	// From is the path of a SQLite file, which is only read.
	From string
	// To is a database that may have the histories of several clusters.
	To engine.Engine
	// Cluster is the name of the one cluster whose history is copied; nil for all that the file has.
	Cluster *string
	// Progress is told of each step; nil for nobody.
	Progress func(CopyProgress)
}

// CopyProgress is how far a copy is.
type CopyProgress struct {
	Cluster  *Cluster // as it is in the database that is copied to
	Table    string
	Rows, Of int64 // rows of the table that are done, and those that there are
	Checking bool  // they are compared, and not copied
	Resumed  bool  // an earlier run had copied some of them
}

// Copied is a history that both databases have.
type Copied struct {
	From, To *Cluster
	Already  bool // it was there before
	Tables   []CopiedTable
}

// CopiedTable is a table whose rows are the same in both databases.
type CopiedTable struct {
	Name string
	Rows int64
	Sum  string // the SHA-256 of all rows, whatever the database and the cluster's number in it
}

var (
	errNotShared = errors.New("a history is copied from a SQLite file into a PostgreSQL database")
	errThere     = errors.New("the database has another history of this cluster")
	errOtherCopy = errors.New("another khook migrate goes on with this history")
	errWritten   = errors.New("the file was written while it was copied")
	errUnlike    = errors.New("what was copied is not what the file has")
)

// Copy copies the histories of a file into a database, and compares what is there then with what the file has. It goes on with what an earlier run has
// not finished. Salt, IDs, sequence and term stay, so that whoever goes on with the copy knows all that was known; only the cluster's number, which is in
// the IDs of events, is another one where that of the file is taken. Until all is copied, no khook goes on with the history.
func Copy(ctx context.Context, cfg CopyConfig) (all []Copied, err error) {
	if !cfg.To.Shared() {
		return nil, errNotShared
	}
	file := sqlite.New(sqlite.Config{Path: cfg.From})
	from, err := openCopySource(ctx, file)
	if err != nil {
		return nil, file.Explain(err)
	}
	defer from.close()
	clusters, err := from.wanted(cfg.Cluster)
	if err != nil {
		return nil, err
	}
	to, err := openCopyTarget(ctx, cfg.To)
	if err != nil {
		return nil, cfg.To.Explain(err)
	}
	defer to.close()
	for _, c := range clusters {
		one := &historyCopy{report: cfg.Progress, src: from, dst: to, from: c, run: rand.Text()}
		done, err := one.copy(ctx)
		if err != nil {
			return all, cfg.To.Explain(file.Explain(err))
		}
		all = append(all, *done)
	}
	return all, cfg.To.Explain(to.forgetProgress(ctx))
}

// historyCopy copies the history of one cluster.
type historyCopy struct {
	report   func(CopyProgress)
	src      *copySource
	dst      *copyTarget
	from, to clusterRow
	run      string // of this process: another one that goes on with the copy has another one
}

func (h *historyCopy) tell(p CopyProgress) {
	if h.report != nil {
		p.Cluster = &h.to.Cluster
		h.report(p)
	}
}

func (h *historyCopy) copy(ctx context.Context) (*Copied, error) {
	already, err := h.enter(ctx)
	if err != nil {
		return nil, err
	}
	done := &Copied{From: &h.from.Cluster, To: &h.to.Cluster, Already: already}
	if !already {
		for _, t := range copiedTables {
			if err := h.copyTable(ctx, t); err != nil {
				return nil, fmt.Errorf("copy %s: %w", t.name, err)
			}
		}
	}
	if done.Tables, err = h.compare(ctx); err == nil {
		err = h.src.unchanged(ctx)
	}
	switch {
	case already && errors.Is(err, errUnlike):
		return nil, fmt.Errorf("%w: %w", errThere, err)
	case already || err != nil && !errors.Is(err, errUnlike) && !errors.Is(err, errWritten):
		return done, err
	case err != nil: // the next run begins anew
		return nil, errors.Join(err, h.dst.in(ctx, durable, func() error { return h.mark(ctx, true) }))
	}
	return done, h.finish(ctx)
}

// enter finds the row of the cluster where it is copied to, or makes it: already says that it was copied before. Its number and names are taken from
// then on, and no khook goes on with it before all is copied.
func (h *historyCopy) enter(ctx context.Context) (already bool, err error) {
	var anew bool
	err = h.dst.in(ctx, durable, func() error {
		have, err := h.dst.clusters(ctx)
		if err != nil {
			return err
		}
		var resumed bool
		h.to, resumed, already, err = placeOf(h.from, have)
		if err != nil || already {
			return err
		}
		if !resumed {
			_, err = h.dst.exec(ctx, "INSERT INTO clusters (no, name, uid, salt, seq, term, checked) VALUES (?, ?, ?, ?, 0, 0, 0)", h.to.No, h.to.Name, uidOfCopy, h.to.Salt)
			if err != nil {
				return err
			}
		}
		was, known, err := h.dst.progress(ctx, h.to.No)
		if err != nil {
			return err
		}
		anew = resumed && (!known || was.Stale || was.Seq != h.from.seq || was.Term != h.from.term || was.Checked != h.from.checked)
		return h.mark(ctx, anew)
	})
	if h.dst.engine.Duplicate(err) {
		err = fmt.Errorf("%w: it was made just now: %w", errThere, err)
	}
	if err != nil || !anew {
		return already, err
	}
	if err := h.clear(ctx); err != nil {
		return false, fmt.Errorf("begin anew: %w", err)
	}
	return false, h.dst.in(ctx, durable, func() error { return h.mark(ctx, false) })
}

// placeOf is where a cluster's history goes in a database: to its own row, which an earlier copy made, or to a new one.
func placeOf(from clusterRow, have []clusterRow) (to clusterRow, resumed, already bool, err error) {
	to = from
	taken := map[int64]bool{}
	for _, h := range have {
		taken[h.No] = true
		switch {
		case h.Name == from.Name && h.Salt == from.Salt && h.UID == uidOfCopy:
			to.No, resumed = h.No, true
		case h.is(from.Cluster) && h.seq == from.seq && h.term == from.term:
			to.No, already = h.No, true
		case h.is(from.Cluster):
			return to, false, false, fmt.Errorf("%w: a khook has gone on with it, or it is another one; its change sequence is at %d and its term is %d, those of the file are %d and %d", errThere, h.seq, h.term, from.seq, from.term)
		case h.Name == from.Name:
			return to, false, false, fmt.Errorf("%w: its cluster %q is another one (UID %q); start khook on the file once with another name (--cluster), and then copy it", errThere, h.Name, h.UID)
		case from.UID != "" && h.UID == from.UID:
			return to, false, false, fmt.Errorf("%w: its cluster %q has the same UID", errThere, h.Name)
		case h.Salt == from.Salt:
			return to, false, false, fmt.Errorf("%w: the IDs of its cluster %q and those of the file are derived from the same name, %q", errThere, h.Name, from.Salt)
		}
	}
	if resumed || already {
		return to, resumed, already, nil
	}
	if len(have) >= MaxClusters {
		return to, false, false, errTooManyClusters
	}
	for to.No = from.No; taken[to.No]; to.No++ {
		if to.No == MaxClusters-1 {
			to.No = -1
		}
	}
	return to, false, false, nil
}

// is says whether it is the same cluster, under the same name; the number does not matter.
func (c Cluster) is(other Cluster) bool {
	return c.Name == other.Name && c.UID == other.UID && c.Salt == other.Salt
}

// mark notes what is copied, and by whom.
func (h *historyCopy) mark(ctx context.Context, stale bool) error {
	return h.dst.note(ctx, h.to.No, "", copyMark{Seq: h.from.seq, Term: h.from.term, Checked: h.from.checked, Run: h.run, Stale: stale})
}

// in runs do in a transaction of this copy, unless another process has taken it over.
func (h *historyCopy) in(ctx context.Context, sync durability, do func() error) error {
	return h.dst.in(ctx, sync, func() error {
		mark, known, err := h.dst.progress(ctx, h.to.No)
		if err != nil {
			return err
		}
		if !known || mark.Run != h.run {
			return errOtherCopy
		}
		return do()
	})
}

// clear deletes what was copied.
func (h *historyCopy) clear(ctx context.Context) error {
	for _, t := range copiedTables {
		for left := true; left; {
			err := h.in(ctx, relaxed, func() error {
				n, err := h.dst.exec(ctx, fmt.Sprintf("DELETE FROM %[1]s WHERE cluster = ? AND (%[2]s) IN (SELECT %[2]s FROM %[1]s WHERE cluster = ? ORDER BY %[2]s LIMIT ?)", t.name, t.key),
					h.to.No, h.to.No, copyBatch)
				if left = n == copyBatch; err != nil || left {
					return err
				}
				_, err = h.dst.exec(ctx, "DELETE FROM "+progressTable+" WHERE cluster = ? AND name = ?", h.to.No, t.name)
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// copyTable copies what is not copied yet of a table: a batch and how far it goes in one transaction.
func (h *historyCopy) copyTable(ctx context.Context, t copiedTable) error {
	shape, err := h.shapeOf(ctx, t)
	if err != nil {
		return err
	}
	reached, err := h.dst.reached(ctx, h.to.No, t.name)
	if err != nil {
		return err
	}
	of, err := h.src.count(ctx, t.name, h.from.No)
	if err != nil {
		return err
	}
	resumed := reached.Rows > 0
	for more := true; more; {
		rows, err := shape.page(ctx, h.src, h.from.No, reached.After)
		if err != nil {
			return err
		}
		if more = len(rows) == shape.batch(); len(rows) > 0 {
			reached.Rows, reached.After = reached.Rows+int64(len(rows)), shape.keyOf(rows[len(rows)-1])
			err = h.in(ctx, relaxed, func() error {
				if err := h.dst.insert(ctx, shape, h.to.No, rows); err != nil {
					return err
				}
				return h.dst.note(ctx, h.to.No, t.name, reached)
			})
			if err != nil {
				return err
			}
		}
		h.tell(CopyProgress{Table: t.name, Rows: reached.Rows, Of: of, Resumed: resumed})
	}
	return nil
}

// compare says with errUnlike that a table has other rows than the file.
func (h *historyCopy) compare(ctx context.Context) (same []CopiedTable, err error) {
	for _, t := range copiedTables {
		shape, err := h.shapeOf(ctx, t)
		if err != nil {
			return nil, err
		}
		want, err := h.sum(ctx, shape, h.src, h.from.No, func(int64) {})
		if err != nil {
			return nil, fmt.Errorf("read %s of the file: %w", t.name, err)
		}
		got, err := h.sum(ctx, shape, h.dst, h.to.No, func(rows int64) {
			h.tell(CopyProgress{Table: t.name, Rows: rows, Of: want.Rows, Checking: true})
		})
		if err != nil {
			return nil, fmt.Errorf("read %s of the copy: %w", t.name, err)
		}
		if got != want {
			return nil, fmt.Errorf("%w: %s has %d rows in the file (%.12s) and %d in the database (%.12s)", errUnlike, t.name, want.Rows, want.Sum, got.Rows, got.Sum)
		}
		same = append(same, got)
	}
	return same, nil
}

// finish lets khook go on with the history.
func (h *historyCopy) finish(ctx context.Context) error {
	return h.in(ctx, durable, func() error {
		have, err := h.dst.clusters(ctx)
		if err != nil {
			return err
		}
		for _, c := range have {
			if c.No != h.to.No && c.UID == h.to.UID && c.UID != "" {
				return fmt.Errorf("%w: while it was copied, a khook has begun one as %q; drop that one, and run khook migrate again", errThere, c.Name)
			}
		}
		if _, err := h.dst.exec(ctx, "UPDATE clusters SET uid = ?, seq = ?, term = ?, checked = ? WHERE no = ?", h.to.UID, h.from.seq, h.from.term, h.from.checked, h.to.No); err != nil {
			return err
		}
		_, err = h.dst.exec(ctx, "DELETE FROM "+progressTable+" WHERE cluster = ?", h.to.No)
		return err
	})
}
