package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store/engine"
)

// precedent is a question that a decision about an event has for the history: what was called before. A transaction asks
// it to decide, and a Reader to say what would be decided. Both take the query from here, or what people are told
// would soon be about other rows than those that the decision goes by.
type precedent[T any] struct {
	what string // it reads
	scan func(scanner) (T, error)
	text string
	args []any
}

func (p precedent[T]) inTx(ctx context.Context, tx *Tx) ([]T, error) {
	found, err := rowsOf(ctx, tx, p.scan, p.text, p.args...)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", p.what, err)
	}
	return found, nil
}

// allInTx asks questions that differ by their arguments, many at a time. The answers are in the order of the questions, and each is in that of order.
func allInTx[T any](ctx context.Context, tx *Tx, order func(a, b T) int, asked []precedent[T]) ([][]T, error) {
	type answer struct {
		to  int
		row T
	}
	all := make([][]T, len(asked))
	err := inBatches(len(asked), func(from, to int) error {
		var text strings.Builder
		var args []any
		for i, p := range asked[from:to] {
			if i > 0 {
				text.WriteString(" UNION ALL ")
			}
			fmt.Fprintf(&text, "SELECT * FROM (SELECT %d AS asked, %s) AS answer%d", i, strings.TrimPrefix(p.text, "SELECT "), i)
			args = append(args, p.args...)
		}
		answers, err := rowsOf(ctx, tx, func(row scanner) (a answer, err error) {
			a.row, err = asked[from].scan(leading{row, []any{&a.to}})
			return a, err
		}, text.String(), args...)
		if err != nil {
			return fmt.Errorf("read %s, and %d more: %w", asked[from].what, to-from-1, err)
		}
		for _, a := range answers {
			all[from+a.to] = append(all[from+a.to], a.row)
		}
		return nil
	})
	for _, rows := range all {
		slices.SortStableFunc(rows, order)
	}
	return all, err
}

func (p precedent[T]) forPeople(ctx context.Context, r *Reader) ([]T, error) {
	return readAll(ctx, r.handle, p.what, p.scan, p.text, p.args...)
}

func groupDeliveries(cluster *Cluster, key delivery.GroupKey, configs []string, limit int) precedent[*delivery.Delivery] {
	among, args := oneOf(configs)
	return precedent[*delivery.Delivery]{"the deliveries of group " + key.Group, cluster.scanDelivery,
		"SELECT " + deliveryLine + " FROM deliveries WHERE cluster = :cluster AND hook_ns = ? AND hook = ? " +
			"AND config " + among + " AND grp = ? AND skipped = '' ORDER BY created_at DESC LIMIT ?",
		slices.Concat([]any{key.Hook.Namespace, key.Hook.Name}, args, []any{key.Group, limit})}
}

func groupState(key delivery.GroupKey) precedent[*delivery.GroupState] {
	return precedent[*delivery.GroupState]{"the state of group " + key.Group, scanGroup,
		"SELECT " + groupColumns + " FROM delivery_groups WHERE cluster = :cluster AND hook_ns = ? AND hook = ? AND config = ? AND grp = ?",
		[]any{key.Hook.Namespace, key.Hook.Name, key.Config, key.Group}}
}

// stateOf is the state that was found of a group; an empty one if none was.
func stateOf(key delivery.GroupKey, found []*delivery.GroupState) *delivery.GroupState {
	if len(found) == 0 {
		return &delivery.GroupState{GroupKey: key}
	}
	return found[0]
}

func workloadCalls(hook delivery.HookRef, configs []string, workload string, after time.Time, limit int) precedent[GroupCall] {
	among, args := oneOf(configs)
	return precedent[GroupCall]{fmt.Sprintf("the deliveries of hook %s about %s", hook, workload), scanGroupCall,
		"SELECT grp, created_at FROM deliveries WHERE cluster = :cluster AND hook_ns = ? AND hook = ? AND config " + among + " AND workload = ? AND skipped = '' " +
			"AND created_at > ? ORDER BY created_at DESC LIMIT ?",
		slices.Concat([]any{hook.Namespace, hook.Name}, args, []any{workload, micros(after), limit})}
}

func scanGroupCall(row scanner) (c GroupCall, err error) {
	var created int64
	err = row.Scan(&c.Group, &created)
	c.CreatedAt = fromMicros(created)
	return c, err
}

func countDeliveries(hook delivery.HookRef, configs []string, since time.Time, most int) precedent[int64] {
	where, args := madeDue(hook, configs, since)
	return precedent[int64]{"how many deliveries of hook " + hook.String() + " there are", scanNumber,
		"SELECT count(*) FROM (SELECT 1 FROM deliveries WHERE " + where + " LIMIT ?) AS counted", append(args, most)}
}

func oldestDelivery(hook delivery.HookRef, configs []string, since time.Time, most int) precedent[time.Time] {
	where, args := madeDue(hook, configs, since)
	return precedent[time.Time]{"the deliveries of hook " + hook.String(), scanTime,
		"SELECT coalesce(min(created_at), 0) FROM (SELECT created_at FROM deliveries WHERE " + where + " ORDER BY created_at DESC LIMIT ?) AS counted",
		append(args, most)}
}

// onlyOne is the row of a precedent that is a single value; zero if there is none.
func onlyOne[T any](found []T, err error) (one T, _ error) {
	if err != nil || len(found) == 0 {
		return one, err
	}
	return found[0], nil
}

// Spent is what the calls of a hook took within some time.
type Spent struct {
	Tokens int64
	// Reached is when the call was made due with which the newest calls took as many as were asked for: once it is out of that time they
	// took less. Zero if they did not.
	Reached time.Time
}

func tokensSpent(hook delivery.HookRef, since time.Time, most int) precedent[Spent] {
	return precedent[Spent]{"the tokens of hook " + hook.String(), scanSpent,
		"SELECT coalesce(sum(took), 0), coalesce(max(CASE WHEN so_far >= ? THEN at END), 0) FROM " +
			"(SELECT created_at AS at, total_tokens AS took, sum(total_tokens) OVER (ORDER BY created_at DESC) AS so_far FROM deliveries " +
			"WHERE cluster = :cluster AND hook_ns = ? AND hook = ? AND created_at >= ? AND total_tokens > 0) AS counted",
		[]any{most, hook.Namespace, hook.Name, micros(since)}}
}

func scanSpent(row scanner) (Spent, error) {
	var s Spent
	var at int64
	err := row.Scan(&s.Tokens, &at)
	s.Reached = fromMicros(at)
	return s, err
}

// madeDue selects the deliveries that were made due since and not skipped.
func madeDue(hook delivery.HookRef, configs []string, since time.Time) (where string, args []any) {
	where, args = "cluster = :cluster AND skipped = '' AND created_at >= ?", []any{micros(since)}
	if hook.Name != "" {
		where, args = where+" AND hook_ns = ? AND hook = ?", append(args, hook.Namespace, hook.Name)
	}
	if len(configs) > 0 {
		among, keys := oneOf(configs)
		where, args = where+" AND config "+among, append(args, keys...)
	}
	return where, args
}

// oneOf is what a column is compared by that has one of some values.
func oneOf(values []string) (comparison string, args []any) {
	if len(values) == 1 {
		return "= ?", []any{values[0]}
	}
	return "IN (" + placeholders(len(values)) + ")", anys(values)
}

// keyOf is a configuration's key as a list; empty if it has none.
func keyOf(config string) []string {
	if config == "" {
		return nil
	}
	return []string{config}
}

func configurationsOf(hook delivery.HookRef) precedent[delivery.Configuration] {
	return precedent[delivery.Configuration]{"the configurations of hook " + hook.String(), scanConfiguration,
		"SELECT config, content, type, agent_ns, agent, edited_at FROM hook_configs WHERE cluster = :cluster AND hook_ns = ? AND hook = ? ORDER BY position",
		[]any{hook.Namespace, hook.Name}}
}

func coversOf(e engine.Engine, hook delivery.HookRef, of incident.EventType, incidentID string, after time.Time) precedent[Cover] {
	return precedent[Cover]{fmt.Sprintf("the deliveries of hook %s about incident %s", hook, incidentID), scanCover,
		"SELECT d.id, d.config, d.created_at FROM " + e.JoinInOrder("delivery_incidents c", "deliveries d", "d.cluster = :cluster AND d.id = c.delivery_id") + " WHERE c.cluster = :cluster AND c.incident_id = ? AND " +
			"d.hook_ns = ? AND d.hook = ? AND d.type = ? AND d.skipped = '' AND (d.ended_at = 0 OR d.created_at > ?) " +
			"ORDER BY d.created_at DESC, d.id LIMIT ?",
		[]any{incidentID, hook.Namespace, hook.Name, string(of), micros(after), maxCovers}}
}

// Precedents is the history for who says, and does not decide, what would be decided for a Hook: it answers as a transaction
// would in which the Hook's configurations were renamed (RenameConfigurations).
type Precedents struct {
	*Reader

	from, to map[string]string // keys of the Hook's configurations, to what they were and are called
}

// Precedents returns the history as it would be with some of a Hook's configurations renamed.
func (r *Reader) Precedents(renamed []delivery.Renaming) Precedents {
	p := Precedents{r, map[string]string{}, map[string]string{}}
	for _, one := range renamed {
		p.from[one.To], p.to[one.From] = one.From, one.To
	}
	return p
}

// keys are those under which the history has what will be that of a configuration: what comes to a key is added to what it
// has, unless that moves on itself.
func (p Precedents) keys(config string) []string {
	was, renamed := p.from[config]
	switch _, moves := p.to[config]; {
	case renamed && moves:
		return []string{was}
	case renamed:
		return []string{was, config}
	case moves:
		return []string{aside(config)} // nothing is left
	}
	return keyOf(config)
}

// GroupDeliveries is Tx.GroupDeliveries.
func (p Precedents) GroupDeliveries(ctx context.Context, key delivery.GroupKey, limit int) ([]*delivery.Delivery, error) {
	return groupDeliveries(p.cluster, key, p.keys(key.Config), limit).forPeople(ctx, p.Reader)
}

// GroupState is Tx.GroupState.
func (p Precedents) GroupState(ctx context.Context, key delivery.GroupKey) (*delivery.GroupState, error) {
	var state *delivery.GroupState
	for _, config := range p.keys(key.Config) {
		was := key
		was.Config = config
		found, err := groupState(was).forPeople(ctx, p.Reader)
		if err != nil {
			return nil, err
		}
		if state == nil {
			state = stateOf(was, found)
			continue
		}
		state.Absorb(stateOf(was, found))
	}
	state.GroupKey = key
	return state, nil
}

// WorkloadCalls is Tx.WorkloadCalls.
func (p Precedents) WorkloadCalls(ctx context.Context, hook delivery.HookRef, config, workload string, after time.Time, limit int) ([]GroupCall, error) {
	return workloadCalls(hook, p.keys(config), workload, after, limit).forPeople(ctx, p.Reader)
}

// CountDeliveries is Tx.CountDeliveries.
func (p Precedents) CountDeliveries(ctx context.Context, hook delivery.HookRef, config string, since time.Time, most int) (int, error) {
	n, err := onlyOne(countDeliveries(hook, p.keys(config), since, most).forPeople(ctx, p.Reader))
	return int(n), err
}

// OldestDelivery is Tx.OldestDelivery.
func (p Precedents) OldestDelivery(ctx context.Context, hook delivery.HookRef, config string, since time.Time, most int) (time.Time, error) {
	return onlyOne(oldestDelivery(hook, p.keys(config), since, most).forPeople(ctx, p.Reader))
}

// TokensSpent is Tx.TokensSpent.
func (p Precedents) TokensSpent(ctx context.Context, hook delivery.HookRef, since time.Time, most int) (Spent, error) {
	return onlyOne(tokensSpent(hook, since, most).forPeople(ctx, p.Reader))
}

// Covers is Tx.Covers.
func (p Precedents) Covers(ctx context.Context, hook delivery.HookRef, of incident.EventType, incidentID string, after time.Time) ([]Cover, error) {
	covers, err := coversOf(p.engine, hook, of, incidentID, after).forPeople(ctx, p.Reader)
	for i := range covers {
		if to, renamed := p.to[covers[i].Config]; renamed {
			covers[i].Config = to
		}
	}
	return covers, err
}

// Configurations is Tx.Configurations, for people.
func (r *Reader) Configurations(ctx context.Context, hook delivery.HookRef) ([]delivery.Configuration, error) {
	return configurationsOf(hook).forPeople(ctx, r)
}

// Event returns one event, or ErrNotFound.
func (r *Reader) Event(ctx context.Context, id int64) (*incident.Event, error) {
	return readOne(ctx, r.handle, fmt.Sprint("event ", id), r.cluster.scanEvent, "SELECT "+eventColumns+" FROM events WHERE cluster = :cluster AND id = ?", id)
}

// NewestEvents returns the newest events of an incident, newest first.
func (r *Reader) NewestEvents(ctx context.Context, incidentID string, limit int) ([]*incident.Event, error) {
	return readAll(ctx, r.handle, "events of incident "+incidentID, r.cluster.scanEvent,
		"SELECT "+eventColumns+" FROM events WHERE cluster = :cluster AND incident_id = ? ORDER BY id DESC LIMIT ?", incidentID, limit)
}
