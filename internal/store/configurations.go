package store

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

const configurationColumns = "hook_ns, hook, config, position, content, type, agent_ns, agent, edited_at, saved_at"

func scanConfiguration(row scanner) (c delivery.Configuration, err error) {
	var edited int64
	err = row.Scan(&c.Key, &c.Content, &c.EventType, &c.Agent.Namespace, &c.Agent.Name, &edited)
	c.EditedAt = fromMicros(edited)
	return c, err
}

// Configurations returns what SaveConfigurations saved of a hook, in its order; nothing if that never was.
func (tx *Tx) Configurations(ctx context.Context, hook delivery.HookRef) ([]delivery.Configuration, error) {
	return configurationsOf(hook).inTx(ctx, tx)
}

// SaveConfigurations replaces what is known of a hook's configurations.
func (tx *Tx) SaveConfigurations(ctx context.Context, hook delivery.HookRef, configs []delivery.Configuration) error {
	if _, err := tx.exec(ctx, "DELETE FROM hook_configs WHERE cluster = :cluster AND hook_ns = ? AND hook = ?", hook.Namespace, hook.Name); err != nil {
		return fmt.Errorf("replace the configurations of hook %s: %w", hook, err)
	}
	rows := make([][]any, len(configs))
	for i, c := range configs {
		rows[i] = []any{
			hook.Namespace, hook.Name, c.Key, i, c.Content, string(c.EventType), c.Agent.Namespace, c.Agent.Name,
			micros(c.EditedAt), micros(tx.store.cfg.Clock.Now()),
		}
	}
	return tx.insert(ctx, "hook_configs", configurationColumns, rows, "")
}

// RenameConfigurations gives the deliveries and the groups of a hook's configurations other keys, all at the same time:
// two can swap theirs. What the new key has already stays, and what comes to it is added: deliveries beside each other,
// groups by GroupState.Absorb. Decisions and counters keep the key under which they were made.
func (tx *Tx) RenameConfigurations(ctx context.Context, hook delivery.HookRef, renamed []delivery.Renaming) error {
	groups := make([]*delivery.GroupState, 0)
	for _, r := range renamed { // out of the way first, so that no key is taken by one that is still to move
		moved, err := tx.takeGroups(ctx, hook, r)
		if err != nil {
			return err
		}
		groups = append(groups, moved...)
		if err := tx.moveDeliveries(ctx, hook, r.From, aside(r.To)); err != nil {
			return err
		}
	}
	for _, r := range renamed {
		if err := tx.moveDeliveries(ctx, hook, aside(r.To), r.To); err != nil {
			return err
		}
	}
	for _, g := range groups {
		there, err := tx.GroupState(ctx, g.GroupKey)
		if err != nil {
			return err
		}
		g.Absorb(there)
	}
	return (&saving{tx: tx}).saveGroups(ctx, groups)
}

// aside is a key that no configuration has, for one that is on its way to key.
func aside(key string) string { return "#" + key }

func (tx *Tx) moveDeliveries(ctx context.Context, hook delivery.HookRef, from, to string) error {
	// The rows' numbers stay: who has read one may still save it, since the key is not among what is updated.
	_, err := tx.exec(ctx, "UPDATE deliveries SET config = ? WHERE cluster = :cluster AND hook_ns = ? AND hook = ? AND config = ?",
		to, hook.Namespace, hook.Name, from)
	if err != nil {
		return fmt.Errorf("rename configuration %s of hook %s: %w", from, hook, err)
	}
	return nil
}

// takeGroups removes the groups of a configuration, and returns them with its new key.
func (tx *Tx) takeGroups(ctx context.Context, hook delivery.HookRef, r delivery.Renaming) ([]*delivery.GroupState, error) {
	groups, err := rowsOf(ctx, tx, scanGroup, "DELETE FROM delivery_groups WHERE cluster = :cluster AND hook_ns = ? AND hook = ? AND config = ? RETURNING "+groupColumns,
		hook.Namespace, hook.Name, r.From)
	if err != nil {
		return nil, fmt.Errorf("rename the groups of configuration %s of hook %s: %w", r.From, hook, err)
	}
	for _, g := range groups {
		g.Config = r.To
	}
	return groups, nil
}

// Cover is a delivery that is about an incident, as far as it matters to whether that was called for.
type Cover struct {
	DeliveryID string
	Config     string
	CreatedAt  time.Time
}

// maxCovers bounds the deliveries about one incident that Covers returns.
const maxCovers = 64

// Covers returns the newest deliveries of a hook that are about an incident, are for events of a type and were not skipped;
// and either have not ended or were created after a time. The newest come first.
func (tx *Tx) Covers(ctx context.Context, hook delivery.HookRef, of incident.EventType, incidentID string, after time.Time) ([]Cover, error) {
	return coversOf(tx.store.engine, hook, of, incidentID, after).inTx(ctx, tx)
}

// IncidentsCovers is Covers for several incidents.
func (tx *Tx) IncidentsCovers(ctx context.Context, hook delivery.HookRef, of incident.EventType, incidentIDs []string, after time.Time) ([][]Cover, error) {
	asked := make([]precedent[Cover], len(incidentIDs))
	for i, id := range incidentIDs {
		asked[i] = coversOf(tx.store.engine, hook, of, id, after)
	}
	return allInTx(ctx, tx, func(a, b Cover) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), strings.Compare(a.DeliveryID, b.DeliveryID))
	}, asked)
}

func scanCover(row scanner) (c Cover, err error) {
	var created int64
	err = row.Scan(&c.DeliveryID, &c.Config, &created)
	c.CreatedAt = fromMicros(created)
	return c, err
}
