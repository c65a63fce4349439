package cli

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/api/client"
	"github.com/kagent-dev/khook/internal/delivery"
)

// deliveriesReplyCmd is khook deliveries reply.
type deliveriesReplyCmd struct {
	actionFlags
	Text    string `arg:"" optional:"" help:"What to tell the agent."`
	Approve bool   `help:"Approve what the agent asks for." xor:"decision"`
	Reject  bool   `help:"Reject what the agent asks for." xor:"decision"`

	Question string `help:"ID of the question that is meant, as khook deliveries show has it; refused if the agent now asks another one. A decision needs it; for a text it is that of the question that is shown." placeholder:"ID"`
}

// Run answers the question that the agent asks now.
func (c *deliveriesReplyCmd) Run(ctx context.Context, env Env) error {
	decision := c.decision()
	if decision == "" && strings.TrimSpace(c.Text) == "" {
		return wrongUsage("say what to tell the agent: a text, --approve or --reject")
	}
	client, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := c.find(ctx, client); err != nil {
		return err
	}
	question := c.Question
	if question == "" {
		if question, err = c.ask(ctx, client, env, decision); err != nil {
			return err
		}
	}
	body := map[string]any{"text": c.Text, "questionId": question}
	if decision != "" {
		body["decision"] = decision
	}
	return c.send(ctx, client, env, "reply", body, func(d *api.Delivery) string {
		return fmt.Sprintf("agent %s/%s is told; see khook deliveries show %s", d.Agent.Namespace, d.Agent.Name, d.ID)
	})
}

func (c *deliveriesReplyCmd) decision() delivery.Verdict {
	switch {
	case c.Approve:
		return delivery.Approve
	case c.Reject:
		return delivery.Reject
	}
	return ""
}

// ask shows what the agent asks now, and returns the question's ID: what is answered is what was shown. A
// decision is not sent along: who makes it must have read the question before.
func (c *deliveriesReplyCmd) ask(ctx context.Context, remote *client.Client, env Env, decision delivery.Verdict) (id string, err error) {
	d, _, err := client.Fetch[api.DeliveryDetail](ctx, remote, "/deliveries/"+url.PathEscape(c.ID), nil)
	switch {
	case err != nil:
		return "", err
	case d.State != delivery.InputRequired:
		return "", fmt.Errorf("the agent does not ask anything: the delivery is %s", d.State)
	}
	p := newDisplay(Env{Out: env.Err, Err: env.Err}, "table")
	p.block("The agent asks:", d.Question)
	if d.TextsWithheld != "" {
		p.block("What the agent asks is withheld:", d.TextsWithheld)
	}
	if decision != "" {
		return "", fmt.Errorf("a decision must name the question that you read: khook deliveries reply %s --question %s --%s", d.ID, shellWord(d.QuestionID), decision)
	}
	return d.QuestionID, nil
}
