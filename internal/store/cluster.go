package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/kagent-dev/khook/internal/incident"
)

// Cluster is one of the clusters whose histories are in a database. Each has its own change sequence, its own term of its
// leader, and rows of its own: what is written and read is always of one.
type Cluster struct {
	No   int64  // of the cluster in the database, from 0 on
	Name string // as people call it; it can change
	// UID is what the cluster is known by whatever its name is; empty if that was never known.
	UID string
	// Salt is what the IDs of the cluster's incidents and deliveries are derived from. It never changes: with another one, what is known would
	// be taken for new, and its agents would be called again.
	Salt string
}

// MaxClusters is how many clusters a database can have.
const MaxClusters = 1024

// eventNumber has a bit for each of those of an event's ID that are its number in the change sequence; those above are the cluster's number. So an ID
// is unique among all clusters, and no larger than what JavaScript takes for an integer.
const eventNumber = 1<<43 - 1

func (c *Cluster) eventID(seq int64) int64 { return c.No<<43 | seq }

// in writes the cluster's number into a query, where that has ":cluster". It is a number of ours, and not an argument, so that a query can have it
// with each of its tables whatever the order of its arguments.
func (c *Cluster) in(query string) string {
	return strings.ReplaceAll(query, ":cluster", strconv.FormatInt(c.No, 10))
}

// Origin is what incidents need to know of their cluster.
func (c *Cluster) Origin() incident.Origin { return incident.Origin{Cluster: c.Name, Salt: c.Salt} }

// Cluster is the one whose history is read and written.
func (r reads) Cluster() *Cluster { return r.cluster }

// errForeignCluster is why a history is refused that is of another cluster.
var errForeignCluster = errors.New("this history is of another cluster")

// errNoCluster is why nothing is written when the cluster's row is missing.
var errNoCluster = errors.New("the cluster is not in the history any more")

// uidOfCopy stands for the UID of a cluster whose history Copy has not copied to its end.
const uidOfCopy = "khook migrate has not finished"

// errCopying is why such a history is not gone on with.
var errCopying = errors.New("khook migrate has copied only a part of this history")

// errTooManyClusters is why a cluster is refused beyond MaxClusters.
var errTooManyClusters = errors.New("no more clusters fit into this database")

// identity says which of the clusters that a database has is the one with a name and a UID; a new one if none is. known is false for that.
// A shared database has the histories of several clusters; else that of one, which is taken for it whatever it was called.
func identity(have []*Cluster, name, uid string, shared bool) (c *Cluster, known bool, err error) {
	var sameUID, sameName *Cluster
	for _, h := range have {
		if uid != "" && h.UID == uid {
			sameUID = h
		}
		if h.Name == name {
			sameName = h
		}
	}
	switch {
	case sameName != nil && sameName.UID == uidOfCopy:
		return nil, false, errCopying
	case sameUID != nil && sameName != nil && sameName != sameUID:
		return nil, false, fmt.Errorf("%w: its cluster %q has another UID, and this cluster was called %q there", errForeignCluster, name, sameUID.Name)
	case sameUID != nil:
		c = sameUID
	case sameName != nil && uid != "" && sameName.UID != "":
		return nil, false, fmt.Errorf("%w: its cluster %q has the UID %s, and this one has %s", errForeignCluster, name, sameName.UID, uid)
	case sameName != nil:
		c = sameName
	case !shared && len(have) == 1 && (have[0].UID == "" || uid == ""):
		c = have[0]
	}
	if c != nil {
		is := *c
		is.Name = name
		if uid != "" {
			is.UID = uid
		}
		return &is, true, nil
	}
	if len(have) >= MaxClusters {
		return nil, false, errTooManyClusters
	}
	c = &Cluster{Name: name, UID: uid, Salt: name}
	for _, h := range have {
		c.No = max(c.No, h.No+1)
	}
	for _, h := range have {
		if h.Salt == c.Salt { // a cluster that had the name before
			c.Salt = fmt.Sprintf("%s #%d", name, c.No)
		}
	}
	return c, false, nil
}

// errWhichCluster is why a history is not opened where several could be meant.
var errWhichCluster = errors.New("it is not said which cluster is meant")

// visited is the cluster with a name, or the only one if it is empty.
func visited(have []*Cluster, name string) (*Cluster, error) {
	names := make([]string, len(have))
	for i, h := range have {
		if names[i] = strconv.Quote(h.Name); h.Name == name || name == "" && len(have) == 1 {
			return h, nil
		}
	}
	return nil, fmt.Errorf("%w: name one of those that are there by --cluster: %s", errWhichCluster, strings.Join(names, ", "))
}

// Adopt lets the next khook that is started with a name take over the history of that name, whatever the UID of its cluster is: for a cluster that
// was built anew. The error is ErrNotFound if there is none.
func (s *Store) Adopt(ctx context.Context, name string) error {
	return s.Write(ctx, func(tx *Tx) error {
		n, err := tx.exec(ctx, "UPDATE clusters SET uid = '' WHERE name = ? AND uid <> ?", name, uidOfCopy)
		if err == nil && n == 0 {
			err = fmt.Errorf("cluster %q: %w", name, ErrNotFound)
		}
		return err
	})
}

// findCluster finds the row of the cluster, and makes it where it is missing. The names and UIDs are unique: where several processes do so at the same
// time, each of them finds what the first one made.
func (s *Store) findCluster(ctx context.Context) (c *Cluster, err error) {
	if s.cfg.overview {
		return &Cluster{No: -1}, nil // which has no rows
	}
	for range 3 {
		if c, err = s.enterCluster(ctx); err == nil || !s.engine.Duplicate(err) {
			break
		}
	}
	switch {
	case errors.Is(err, errCopying):
		return nil, s.engine.Advise(err, "run khook migrate again: it goes on where it stopped")
	case errors.Is(err, errForeignCluster):
		return nil, s.engine.Advise(err, "give this cluster a name of its own (--cluster) or a history of its own (--database); if it is the same cluster, built anew, let it take the history over (khook clusters adopt NAME), or give it the old UID (--cluster-uid)")
	case err != nil:
		return nil, fmt.Errorf("find the cluster in the history: %w", err)
	}
	return c, nil
}

func (s *Store) enterCluster(ctx context.Context) (c *Cluster, err error) {
	if _, err := s.conn.ExecContext(ctx, s.engine.Begin(true)); err != nil {
		return nil, err
	}
	defer func() {
		end := "COMMIT"
		if err != nil {
			end = "ROLLBACK"
		}
		_, ended := s.conn.ExecContext(context.WithoutCancel(ctx), end)
		if err == nil {
			err = ended
		}
	}()
	rows, err := s.conn.QueryContext(ctx, selectClusters)
	if err != nil {
		return nil, err
	}
	have, err := collect(rows, scanCluster)
	if err != nil {
		return nil, err
	}
	if s.cfg.Visit && len(have) > 0 {
		return visited(have, s.cfg.Cluster)
	}
	c, known, err := identity(have, s.cfg.Cluster, s.cfg.ClusterUID, s.engine.Shared())
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(have, func(h *Cluster) bool { return *h == *c }) {
		return c, nil // as it was: nothing that another replica's leader writes is waited for
	}
	change := "INSERT INTO clusters (name, uid, salt, no, seq, term, checked) VALUES (?, ?, ?, ?, 0, 0, 0)"
	if known {
		change = "UPDATE clusters SET name = ?, uid = ?, salt = ? WHERE no = ?"
	}
	_, err = s.conn.ExecContext(ctx, s.engine.Bind(change), c.Name, c.UID, c.Salt, c.No)
	return c, err
}

const selectClusters = "SELECT no, name, uid, salt FROM clusters ORDER BY no"

func scanCluster(row scanner) (*Cluster, error) {
	c := &Cluster{}
	return c, row.Scan(&c.No, &c.Name, &c.UID, &c.Salt)
}

// Clusters returns the clusters whose histories are in the database, by their numbers; without those that Copy has not copied to their ends.
func (r reads) Clusters(ctx context.Context) ([]*Cluster, error) {
	all, err := readAll(ctx, r.handle, "clusters", scanCluster, selectClusters)
	return slices.DeleteFunc(all, func(c *Cluster) bool { return c.UID == uidOfCopy }), err
}

// Clusters returns the clusters whose histories are in a database, by their numbers. It brings the schema up to date.
func Clusters(ctx context.Context, cfg Config) ([]*Cluster, error) {
	cfg.overview = true
	st, err := Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	all, err := st.Clusters(ctx)
	return all, errors.Join(err, st.Close())
}

// Of is the reader of another cluster's history in the same database. It reads on the same connections, and waits for them in the same line.
func (r *Reader) Of(c *Cluster) *Reader {
	api := &apiHandle{db: r.api.db, slots: r.api.slots, store: r.store, cluster: c}
	return &Reader{reads: reads{api, r.engine, c}, store: r.store, api: api}
}
