package store

import (
	"context"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
)

// AgentQuery selects deliveries for the statistics of agents.
type AgentQuery struct {
	Namespace string            // of the Hooks; all if empty
	Agent     delivery.AgentRef // all if zero
	From, To  time.Time         // when they were made due: from From on, before To
	Limit     int
}

// AgentDeliveries returns the deliveries that are selected, the newest first, with what statistics are made of: without texts and groups.
func (r *Reader) AgentDeliveries(ctx context.Context, q AgentQuery) ([]delivery.Delivery, error) {
	where, args := "cluster = :cluster AND created_at >= ? AND created_at < ?", []any{micros(q.From), micros(q.To)}
	if q.Namespace != "" {
		where, args = "hook_ns = ? AND "+where, append([]any{q.Namespace}, args...)
	}
	if q.Agent != (delivery.AgentRef{}) {
		where, args = where+" AND agent_ns = ? AND agent = ?", append(args, q.Agent.Namespace, q.Agent.Name)
	}
	return readAll(ctx, r.handle, "the deliveries of agents", scanAgentDelivery,
		"SELECT state, hook_ns, hook, agent_ns, agent, type, skipped, created_at, called_at, ended_at, outcome, outcome_at, verify_until, recovered_at, total_tokens, replies "+
			"FROM deliveries WHERE "+where+" ORDER BY created_at DESC, id DESC LIMIT ?", append(args, q.Limit)...)
}

func scanAgentDelivery(row scanner) (d delivery.Delivery, err error) {
	var created, called, ended, outcome, until, recovered int64
	err = row.Scan(&d.State, &d.Hook.Namespace, &d.Hook.Name, &d.Agent.Namespace, &d.Agent.Name, &d.EventType, &d.Skipped, &created, &called, &ended,
		&d.Outcome, &outcome, &until, &recovered, &d.Usage.Total, &d.Replies)
	d.CreatedAt, d.CalledAt, d.EndedAt = fromMicros(created), fromMicros(called), fromMicros(ended)
	d.OutcomeAt, d.VerifyUntil, d.RecoveredAt = fromMicros(outcome), fromMicros(until), fromMicros(recovered)
	return d, err
}
