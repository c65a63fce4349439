package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/api/client"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// inboxCmd is khook inbox.
type inboxCmd struct {
	namespaceFlags
	Cluster string `help:"Of this cluster; of that of the khook which is asked if empty. What waits in another cluster is answered at that cluster's khook." placeholder:"NAME"`
	namedItems
	apiFlags
}

// Help is shown below the flags.
func (inboxCmd) Help() string {
	return `The oldest first. The last column has the command that answers; QUESTION stands for the short ID in the first one, which khook approve, reject and reply take.`
}

// Run prints what waits for a person.
func (c *inboxCmd) Run(ctx context.Context, env Env) error {
	remote, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer remote.Close()
	box, raw, err := fetchInbox(ctx, remote, c.Namespace, c.Cluster)
	if err != nil {
		return err
	}
	p := c.display(env)
	switch {
	case p.form == nameForm:
		for i := range box.Items {
			if err := p.name("delivery", box.Items[i].DeliveryID); err != nil {
				return err
			}
		}
		return nil
	case !p.forPeople():
		return p.raw(raw)
	}
	if len(box.Items) == 0 {
		_, err := fmt.Fprintln(env.Out, "Nothing waits for a person.")
		return err
	}
	rows := make([][]string, len(box.Items))
	for i := range box.Items {
		item := &box.Items[i]
		rows[i] = []string{p.shortID(cmp.Or(item.QuestionID, item.DeliveryID)), p.age(item.Since), string(item.Kind), item.Hook.Namespace + "/" + item.Hook.Name, p.group(item.Group), answerTo(item), textOf(item)}
		if c.Cluster != "" {
			rows[i][5] = "at the khook of " + c.Cluster
		}
	}
	if err := p.table([]string{"ID", "AGE", "WAITS FOR", "HOOK", "ABOUT", "COMMAND", "TEXT"}, rows, "HOOK", "ABOUT", "AGE"); err != nil {
		return err
	}
	if box.Truncated {
		_, err = fmt.Fprintln(env.Err, "there is more: name a namespace with -n, or answer these first")
	}
	return err
}

func fetchInbox(ctx context.Context, remote *client.Client, namespace, cluster string) (api.Inbox, []byte, error) {
	q := url.Values{}
	set(q, "namespace", namespace)
	set(q, "cluster", cluster)
	return client.Fetch[api.Inbox](ctx, remote, "/inbox", q)
}

func shortID(item *api.InboxItem) string {
	return abbreviated(cmp.Or(item.QuestionID, item.DeliveryID))
}

// abbreviated is as much of an ID as is shown where there is little room.
func abbreviated(id string) string { return id[:min(len(id), shortIDLength)] }

// answerTo is the command that answers.
func answerTo(item *api.InboxItem) string {
	switch {
	case item.QuestionID == "" && item.Kind != api.InboxStalled && item.Kind != api.InboxLoopGuard:
		return "khook deliveries show " + abbreviated(item.DeliveryID)
	case item.Kind == api.InboxQuestion:
		return "khook reply " + shortID(item) + " TEXT"
	case item.Kind == api.InboxApproval:
		return "khook approve " + shortID(item)
	case item.Kind == api.InboxLoopGuard && item.DeliveryID != "":
		return "khook deliveries resume " + abbreviated(item.DeliveryID)
	case item.Kind == api.InboxStalled:
		return "khook deliveries cancel " + abbreviated(item.DeliveryID)
	}
	return ""
}

// textOf is what is asked, on one line.
func textOf(item *api.InboxItem) string {
	if item.Text == "" {
		return item.TextsWithheld
	}
	return strings.Join(strings.Fields(item.Text), " ")
}

// answerFlags are those of the commands that answer a question by its short ID.
type answerFlags struct {
	Question  string `arg:"" name:"question" complete:"questions" help:"The ID of the question that was shown, or its first 6 characters or more."`
	Namespace string `short:"n" complete:"namespaces" help:"Only look in this namespace." placeholder:"NS"`
	namedItems
	apiFlags
}

// answer sends what a person says to the question that was shown. One that is asked no more is not answered, and what is asked now is shown.
func (f *answerFlags) answer(ctx context.Context, env Env, verdict delivery.Verdict, text string) error {
	if len(f.Question) < minPrefix {
		return wrongUsage("name the question by the first %d characters of its ID or more: khook inbox shows them", minPrefix)
	}
	remote, err := f.connect(ctx)
	if err != nil {
		return err
	}
	defer remote.Close()
	item, err := f.find(ctx, remote)
	if err != nil {
		return err
	}
	p := newDisplay(Env{Out: env.Err, Err: env.Err}, "table")
	p.block("The agent asks:", item.Text)
	body := map[string]any{"text": text, "questionId": item.QuestionID}
	if verdict != "" {
		body["decision"] = verdict
	}
	send := actionFlags{ID: item.DeliveryID, apiFlags: f.apiFlags}
	return send.send(ctx, remote, env, "reply", body, func(d *api.Delivery) string {
		return fmt.Sprintf("agent %s/%s is told; see khook deliveries show %s", d.Agent.Namespace, d.Agent.Name, d.ID)
	})
}

// find is the question that is open and has the ID.
func (f *answerFlags) find(ctx context.Context, remote *client.Client) (*api.InboxItem, error) {
	box, _, err := fetchInbox(ctx, remote, f.Namespace, "")
	if err != nil {
		return nil, err
	}
	var found []*api.InboxItem
	var open []string
	for i := range box.Items {
		item := &box.Items[i]
		if item.QuestionID == "" {
			continue
		}
		open = append(open, fmt.Sprintf("%s about %s (%s)", shortID(item), item.Group, item.Kind))
		if strings.HasPrefix(item.QuestionID, f.Question) {
			found = append(found, item)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		var which strings.Builder
		for _, item := range found {
			fmt.Fprintf(&which, "\n  %s about %s (%s)", incident.Clean(item.QuestionID, maxCell), incident.Clean(item.Group, maxCell), item.Kind)
		}
		return nil, fmt.Errorf("%d of the open questions begin with %s: name more of the ID%s", len(found), shellWord(f.Question), which.String())
	case box.Truncated:
		return nil, errors.New("nothing is answered: only the oldest questions were looked at; name the namespace of its Hook with -n")
	case len(open) == 0:
		return nil, errors.New("nothing is answered: no question is open any more")
	}
	return nil, fmt.Errorf("nothing is answered: no open question has that ID. It was answered, or the agent asks something else by now; open are %s", strings.Join(open, ", "))
}

// approveCmd is khook approve.
type approveCmd struct {
	answerFlags
	Text string `help:"Also tell the agent this." placeholder:"TEXT"`
}

// Run approves what an agent asks for.
func (c *approveCmd) Run(ctx context.Context, env Env) error {
	return c.answer(ctx, env, delivery.Approve, c.Text)
}

// rejectCmd is khook reject.
type rejectCmd struct {
	answerFlags
	Text string `help:"Also tell the agent why." placeholder:"TEXT"`
}

// Run rejects what an agent asks for.
func (c *rejectCmd) Run(ctx context.Context, env Env) error {
	return c.answer(ctx, env, delivery.Reject, c.Text)
}

// replyCmd is khook reply.
type replyCmd struct {
	answerFlags
	Text string `arg:"" name:"text" help:"What to tell the agent."`
}

// Run answers a question.
func (c *replyCmd) Run(ctx context.Context, env Env) error {
	if strings.TrimSpace(c.Text) == "" {
		return wrongUsage("say what to tell the agent")
	}
	return c.answer(ctx, env, "", c.Text)
}
