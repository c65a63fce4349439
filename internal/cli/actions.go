package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/api/client"
)

// actionFlags are those of the commands that do something with a delivery.
type actionFlags struct {
	ID        string `arg:"" name:"id" complete:"deliveries" help:"ID of the delivery, or its first 6 characters or more."`
	Namespace string `short:"n" complete:"namespaces" help:"Only look in this namespace for an ID that is cut." placeholder:"NS"`
	namedItems
	apiFlags
}

// do asks khook to do something with the delivery, and prints the sentence that says what became of it.
func (f *actionFlags) do(ctx context.Context, env Env, action string, body any, sentence func(*api.Delivery) string) error {
	remote, err := f.connect(ctx)
	if err != nil {
		return err
	}
	defer remote.Close()
	if err := f.find(ctx, remote); err != nil {
		return err
	}
	return f.send(ctx, remote, env, action, body, sentence)
}

// find completes an ID of which the beginning was given.
func (f *actionFlags) find(ctx context.Context, remote *client.Client) (err error) {
	q := url.Values{}
	set(q, "namespace", f.Namespace)
	f.ID, err = findID(ctx, remote, deliveryShape(), f.ID, false, q)
	return err
}

func (f *actionFlags) send(ctx context.Context, client *client.Client, env Env, action string, body any, sentence func(*api.Delivery) string) error {
	raw, err := client.Post(ctx, "/deliveries/"+url.PathEscape(f.ID)+"/"+action, body)
	if err != nil {
		return err
	}
	p := f.display(env)
	var d api.Delivery
	if err := json.Unmarshal(raw, &d); err != nil {
		return fmt.Errorf("khook's answer can't be read (is it another version?): %w", err)
	}
	switch {
	case p.form == nameForm:
		return p.name("delivery", d.ID)
	case !p.forPeople():
		return p.raw(raw)
	}
	_, err = fmt.Fprintln(env.Out, sentence(&d))
	return err
}

// deliveriesCancelCmd is khook deliveries cancel.
type deliveriesCancelCmd struct{ actionFlags }

// Run cancels a delivery.
func (c *deliveriesCancelCmd) Run(ctx context.Context, env Env) error {
	return c.do(ctx, env, "cancel", nil, func(d *api.Delivery) string {
		return fmt.Sprintf("delivery %s about %s is being canceled; see khook deliveries show %s", d.ID, d.Group, d.ID)
	})
}

// deliveriesRetryCmd is khook deliveries retry.
type deliveriesRetryCmd struct{ actionFlags }

// Run makes a call again.
func (c *deliveriesRetryCmd) Run(ctx context.Context, env Env) error {
	return c.do(ctx, env, "retry", nil, func(d *api.Delivery) string {
		return fmt.Sprintf("agent %s/%s is called again about %s: delivery %s", d.Agent.Namespace, d.Agent.Name, d.Group, d.ID)
	})
}

// deliveriesResumeCmd is khook deliveries resume.
type deliveriesResumeCmd struct{ actionFlags }

// Run lets calls through again.
func (c *deliveriesResumeCmd) Run(ctx context.Context, env Env) error {
	return c.do(ctx, env, "resume", nil, func(d *api.Delivery) string {
		return fmt.Sprintf("calls about %s for the Hook %s/%s go through again", d.Group, d.Hook.Namespace, d.Hook.Name)
	})
}
