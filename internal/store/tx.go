package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// Tx is one write transaction.
type Tx struct {
	store  *Store
	first  int64 // the change sequence's number at the start
	term   int64 // of who leads
	seq    int64 // the newest number that was given out
	failed error // of the first statement that failed; it may have ended the transaction

	// versions are those of the rows that Save wrote. The deliveries get them when the transaction is committed, and
	// keep their own if it is not: else who tries again would compare with a row that never was.
	versions map[*delivery.Delivery]int64
}

// versionOf is the version of the delivery's row, as the transaction sees it.
func (tx *Tx) versionOf(d *delivery.Delivery) int64 {
	if v, written := tx.versions[d]; written {
		return v
	}
	return d.Version
}

// wrote notes the version of a delivery's new row.
func (tx *Tx) wrote(d *delivery.Delivery, version int64) {
	if tx.versions == nil {
		tx.versions = map[*delivery.Delivery]int64{}
	}
	tx.versions[d] = version
}

// committed tells the deliveries which versions their rows have now.
func (tx *Tx) committed() {
	for d, version := range tx.versions {
		d.Version = version
	}
}

// begin reads the row of the cluster, and keeps it from others until the transaction has ended: that gives the transaction its place in the order of
// the commits, its numbers, and proof that no other store leads since.
func (tx *Tx) begin(ctx context.Context) error {
	found, err := rowsOf(ctx, tx, scanReached, readTerm+tx.store.engine.ForUpdate())
	if err == nil && len(found) != 1 {
		err = tx.fail(errNoCluster)
	}
	if err != nil {
		return fmt.Errorf("read the change sequence: %w", err)
	}
	if err := tx.store.leads(tx.store.reached.Load(), found[0].seq, found[0].term); err != nil {
		return err
	}
	tx.term, tx.seq = found[0].term, found[0].seq
	tx.first = tx.seq
	return nil
}

// reachedRow is how far a cluster's history is.
type reachedRow struct{ seq, term int64 }

func scanReached(row scanner) (r reachedRow, err error) {
	err = row.Scan(&r.seq, &r.term)
	return r, err
}

func (tx *Tx) finish(ctx context.Context) error {
	if tx.seq == tx.first {
		return nil
	}
	_, err := tx.exec(ctx, "UPDATE clusters SET seq = ? WHERE no = :cluster", tx.seq)
	return err
}

// Next returns the next number of the change sequence.
func (tx *Tx) Next() int64 {
	tx.seq++
	return tx.seq
}

// NextEvent returns the ID of the next event: the number of its insertion, and above that the number of the cluster.
func (tx *Tx) NextEvent() int64 { return tx.store.cluster.eventID(tx.Next()) }

// stmt returns the prepared statement of a query; queries are constants, or few by construction.
func (tx *Tx) stmt(ctx context.Context, query string) (*sql.Stmt, error) {
	if tx.failed != nil {
		return nil, tx.failed // some errors end the transaction: what follows would not be part of it
	}
	if st := tx.store.stmts[query]; st != nil {
		return st, nil
	}
	st, err := tx.store.conn.PrepareContext(ctx, tx.store.engine.Bind(tx.store.cluster.in(query)))
	if err != nil {
		return nil, tx.fail(fmt.Errorf("prepare %.60q: %w", query, err))
	}
	tx.store.stmts[query] = st
	return st, nil
}

// fail notes that a statement failed: the transaction can't be committed any more.
func (tx *Tx) fail(err error) error {
	if tx.failed == nil {
		tx.failed = err
	}
	return err
}

// exec runs a statement and returns how many rows it changed.
func (tx *Tx) exec(ctx context.Context, query string, args ...any) (int64, error) {
	st, err := tx.stmt(ctx, query)
	if err != nil {
		return 0, err
	}
	result, err := st.ExecContext(ctx, storable(args)...)
	if err != nil {
		return 0, tx.fail(err)
	}
	return result.RowsAffected()
}

// number reads the one number that a query finds.
func (tx *Tx) number(ctx context.Context, query string, args ...any) (int64, error) {
	found, err := rowsOf(ctx, tx, scanNumber, query, args...)
	if err == nil && len(found) != 1 {
		err = tx.fail(fmt.Errorf("%d rows for %.60q", len(found), query))
	}
	if err != nil {
		return 0, err
	}
	return found[0], nil
}

// rowsOf reads all rows that a query finds.
func rowsOf[T any](ctx context.Context, tx *Tx, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
	st, err := tx.stmt(ctx, query)
	if err != nil {
		return nil, err
	}
	rows, err := st.QueryContext(ctx, storable(args)...)
	if err != nil {
		return nil, tx.fail(err)
	}
	all, err := collect(rows, scan)
	if err != nil {
		return nil, tx.fail(err)
	}
	return all, nil
}

// rowsIn is rowsOf for a query about a set of values, which is %s in it, cut into batches: with one more at most than whole ones, since the last is filled
// up with a value that is in it.
func rowsIn[T, V any](ctx context.Context, tx *Tx, scan func(scanner) (T, error), query string, values []V, more ...any) (all []T, err error) {
	for len(values) > 0 {
		size := batches[0]
		for _, smaller := range batches {
			if len(values) <= smaller {
				size = smaller
			}
		}
		part := anys(values[:min(size, len(values))])
		values = values[len(part):]
		for len(part) < size {
			part = append(part, part[0])
		}
		found, err := rowsOf(ctx, tx, scan, strings.Replace(query, "%s", placeholders(size), 1), append(part, more...)...)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

func scanNumber(row scanner) (n int64, err error) { err = row.Scan(&n); return n, err }

func scanText(row scanner) (text string, err error) { err = row.Scan(&text); return text, err }

// batches are the numbers of rows that one statement takes: few, so that the prepared statements
// stay few.
var batches = []int{100, 20, 4, 1}

// inBatches cuts n things into batches, largest first, and runs do on each.
func inBatches(n int, do func(from, to int) error) error {
	at := 0
	for _, size := range batches {
		for ; n-at >= size; at += size {
			if err := do(at, at+size); err != nil {
				return err
			}
		}
	}
	return nil
}

// insert writes rows into a table, many a statement. conflict is what follows the values.
func (tx *Tx) insert(ctx context.Context, table, columns string, rows [][]any, conflict string) error {
	one := "(:cluster, " + placeholders(columnCount(columns)) + ")"
	return inBatches(len(rows), func(from, to int) error {
		query := "INSERT INTO " + table + " (cluster, " + columns + ") VALUES " +
			strings.TrimSuffix(strings.Repeat(one+",", to-from), ",") + conflict
		args := make([]any, 0, (to-from)*columnCount(columns))
		for _, row := range rows[from:to] {
			args = append(args, row...)
		}
		if _, err := tx.exec(ctx, query, args...); err != nil {
			return fmt.Errorf("write %s: %w", table, err)
		}
		return nil
	})
}

// knownKeys finds those of the event keys that are recorded.
func knownKeys(n int) string {
	return "SELECT event_key FROM events WHERE cluster = :cluster AND event_key IN (" + placeholders(n) + ")"
}

// KnownKeys returns which of the event keys are recorded already.
func (tx *Tx) KnownKeys(ctx context.Context, keys []string) (map[string]bool, error) {
	known := map[string]bool{}
	err := inBatches(len(keys), func(from, to int) error {
		found, err := rowsOf(ctx, tx, scanText, knownKeys(to-from), anys(keys[from:to])...)
		for _, k := range found {
			known[k] = true
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look up event keys: %w", err)
	}
	return known, nil
}

// GroupDeliveries returns the newest deliveries of a group that were not skipped, newest first.
func (tx *Tx) GroupDeliveries(ctx context.Context, key delivery.GroupKey, limit int) ([]*delivery.Delivery, error) {
	return groupDeliveries(tx.store.cluster, key, []string{key.Config}, limit).inTx(ctx, tx)
}

// GroupsDeliveries is GroupDeliveries for several groups.
func (tx *Tx) GroupsDeliveries(ctx context.Context, keys []delivery.GroupKey, limit int) ([][]*delivery.Delivery, error) {
	asked := make([]precedent[*delivery.Delivery], len(keys))
	for i, key := range keys {
		asked[i] = groupDeliveries(tx.store.cluster, key, []string{key.Config}, limit)
	}
	return allInTx(ctx, tx, func(a, b *delivery.Delivery) int { return b.CreatedAt.Compare(a.CreatedAt) }, asked)
}

// GroupCall is a call as far as the loop guard counts it.
type GroupCall struct {
	Group     string
	CreatedAt time.Time
}

// WorkloadCalls returns the newest deliveries of a configuration about a workload that were created after a time and not
// skipped, newest first.
func (tx *Tx) WorkloadCalls(ctx context.Context, hook delivery.HookRef, config, workload string, after time.Time, limit int) ([]GroupCall, error) {
	return workloadCalls(hook, []string{config}, workload, after, limit).inTx(ctx, tx)
}

// WorkloadsCalls is WorkloadCalls for several workloads.
func (tx *Tx) WorkloadsCalls(ctx context.Context, hook delivery.HookRef, config string, workloads []string, after time.Time, limit int) ([][]GroupCall, error) {
	asked := make([]precedent[GroupCall], len(workloads))
	for i, workload := range workloads {
		asked[i] = workloadCalls(hook, []string{config}, workload, after, limit)
	}
	return allInTx(ctx, tx, func(a, b GroupCall) int { return b.CreatedAt.Compare(a.CreatedAt) }, asked)
}

// NewestIncident returns the incident of a problem that is open, else the one that ended last; nil if there is none.
func (tx *Tx) NewestIncident(ctx context.Context, of incident.ProblemKey) (*incident.Incident, error) {
	return onlyOne(newestIncident(tx.store.cluster, of).inTx(ctx, tx))
}

// NewestIncidents is NewestIncident for several problems.
func (tx *Tx) NewestIncidents(ctx context.Context, of []incident.ProblemKey) ([]*incident.Incident, error) {
	asked := make([]precedent[*incident.Incident], len(of))
	for i, key := range of {
		asked[i] = newestIncident(tx.store.cluster, key)
	}
	found, err := allInTx(ctx, tx, func(*incident.Incident, *incident.Incident) int { return 0 }, asked)
	newest := make([]*incident.Incident, len(found))
	for i := range found {
		newest[i], _ = onlyOne(found[i], nil)
	}
	return newest, err
}

func newestIncident(cluster *Cluster, of incident.ProblemKey) precedent[*incident.Incident] {
	return precedent[*incident.Incident]{fmt.Sprintf("the newest incident of %s %s", of.Type, of.UID), cluster.scanIncident,
		"SELECT " + incidentColumns + " FROM incidents WHERE cluster = :cluster AND uid = ? AND type = ? AND container = ? ORDER BY resolution = '' DESC, resolved_at DESC LIMIT 1",
		[]any{of.UID, string(of.Type), of.Container}}
}

// Delivery returns one delivery, or ErrNotFound.
func (tx *Tx) Delivery(ctx context.Context, id string) (*delivery.Delivery, error) {
	found, err := rowsOf(ctx, tx, tx.store.cluster.scanDelivery, "SELECT "+deliveryColumns+" FROM deliveries WHERE cluster = :cluster AND id = ?", id)
	if err != nil {
		return nil, fmt.Errorf("read delivery %s: %w", id, err)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("read delivery %s: %w", id, ErrNotFound)
	}
	return found[0], nil
}

// CopyCovers makes a delivery be about the incidents that another one is about.
func (tx *Tx) CopyCovers(ctx context.Context, from, to string) error {
	_, err := tx.exec(ctx, "INSERT INTO delivery_incidents (cluster, delivery_id, incident_id) SELECT :cluster, ?, incident_id FROM delivery_incidents WHERE cluster = :cluster AND delivery_id = ? "+
		"ON CONFLICT DO NOTHING", to, from)
	return err
}

// GroupState returns what is remembered of a group; an empty one if that is nothing.
func (tx *Tx) GroupState(ctx context.Context, key delivery.GroupKey) (*delivery.GroupState, error) {
	found, err := groupState(key).inTx(ctx, tx)
	if err != nil {
		return nil, err
	}
	return stateOf(key, found), nil
}

// GroupStates is GroupState for several groups.
func (tx *Tx) GroupStates(ctx context.Context, keys []delivery.GroupKey) ([]*delivery.GroupState, error) {
	asked := make([]precedent[*delivery.GroupState], len(keys))
	for i, key := range keys {
		asked[i] = groupState(key)
	}
	found, err := allInTx(ctx, tx, func(*delivery.GroupState, *delivery.GroupState) int { return 0 }, asked)
	states := make([]*delivery.GroupState, len(found))
	for i := range found {
		states[i] = stateOf(keys[i], found[i])
	}
	return states, err
}

// CountDeliveries returns how many deliveries were made due since and not skipped, at most most: of a
// configuration, of a hook if that is empty, of all if the hook is empty too.
func (tx *Tx) CountDeliveries(ctx context.Context, hook delivery.HookRef, config string, since time.Time, most int) (int, error) {
	n, err := onlyOne(countDeliveries(hook, keyOf(config), since, most).inTx(ctx, tx))
	return int(n), err
}

// OldestDelivery returns when the oldest of those was made due that CountDeliveries counts, zero if
// there is none.
func (tx *Tx) OldestDelivery(ctx context.Context, hook delivery.HookRef, config string, since time.Time, most int) (time.Time, error) {
	return onlyOne(oldestDelivery(hook, keyOf(config), since, most).inTx(ctx, tx))
}

// TokensSpent returns how many tokens the calls of a hook took that were made due since, as far as their agents told.
func (tx *Tx) TokensSpent(ctx context.Context, hook delivery.HookRef, since time.Time, most int) (Spent, error) {
	return onlyOne(tokensSpent(hook, since, most).inTx(ctx, tx))
}

// OpenIncidents returns how many of the incidents that a delivery covers are open.
func (tx *Tx) OpenIncidents(ctx context.Context, delivery string) (int64, error) {
	n, err := tx.number(ctx, openIncidents(tx.store.engine), delivery)
	if err != nil {
		return 0, fmt.Errorf("count the open incidents of delivery %s: %w", delivery, err)
	}
	return n, nil
}

// anys are the arguments that values become.
func anys[T any](values []T) []any {
	args := make([]any, 0, len(values)+1)
	for _, v := range values {
		args = append(args, v)
	}
	return args
}

// collect reads all rows, and closes them.
func collect[T any](rows *sql.Rows, scan func(scanner) (T, error)) ([]T, error) {
	defer rows.Close()
	var all []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}
