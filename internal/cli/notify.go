package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/kagent-dev/khook/internal/notify"
)

// notifyCmd is khook notify.
type notifyCmd struct {
	Test notifyTestCmd `cmd:"" help:"Send a test message to a notifier, and say whether it was taken."`
}

// notifyTestCmd is khook notify test.
type notifyTestCmd struct {
	Name          string `arg:"" help:"Name of the notifier."`
	NotifiersFile string `name:"notifiers-file" help:"File with the notifiers." env:"KHOOK_NOTIFIERS_FILE" placeholder:"FILE" required:""`
	Cluster       string `help:"Name of the cluster that the message tells." env:"KHOOK_CLUSTER" placeholder:"NAME"`
}

// Help is shown below the flags.
func (notifyTestCmd) Help() string {
	return `The file and the secrets that it names are read where the command runs, and the message leaves from there. In khook's Pod both are what khook has: kubectl exec -n kagent deploy/khook -- khook notify test NAME`
}

// notifyTestLimit is how long a test may take.
const notifyTestLimit = 30 * time.Second

// Run makes one attempt.
func (c *notifyTestCmd) Run(ctx context.Context, env Env) error {
	notifiers, err := notify.Load(c.NotifiersFile)
	if err != nil {
		return err
	}
	n, err := notifiers.Named(c.Name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, notifyTestLimit)
	defer cancel()
	if err := notify.Test(ctx, n, c.Cluster, env.Version); err != nil {
		return fmt.Errorf("notifier %s was not told: %w", c.Name, err)
	}
	_, err = fmt.Fprintf(env.Out, "Notifier %s has taken a test message.\n", c.Name)
	return err
}
