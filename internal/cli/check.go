package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/kagent-dev/khook/internal/api/client"
	"github.com/kagent-dev/khook/internal/checkup"
)

// checkCmd is khook check.
type checkCmd struct {
	Pre bool `help:"Before khook is installed: whether the cluster is one for khook, and whether you may install it."`
	apiFlags
}

// Help is shown below the flags.
func (checkCmd) Help() string {
	return `Looks at the cluster of the kube context, and at khook in it, with your own rights, and changes nothing. Each line says that something is ok, or NO and what to do; "!" is something to know of; "?" says what was not looked at, and why.

The exit code is 0 if nothing failed, and 1 if a check did. What was not looked at fails nothing, and is no claim that it is well: the last line counts it.`
}

var errChecks = errors.New("some of it needs to be mended")

// checked is the answer as data.
type checked struct {
	OK     bool              `json:"ok"` // nothing failed
	Checks []checkup.Finding `json:"checks"`
}

// Run looks, and prints what it found.
func (c *checkCmd) Run(ctx context.Context, env Env) error {
	o := client.Options(c.connectionFlags)
	cluster, err := o.ClusterConfig()
	if err != nil {
		return err
	}
	look := checkup.Installed
	if c.Pre {
		look = checkup.BeforeInstall
	}
	found, err := look(ctx, checkup.Options{
		Cluster: cluster, Namespace: c.KhookNamespace, Name: c.KhookService, Elsewhere: c.Server != "", Version: env.Version,
		Timeout: c.Timeout, Connect: c.connect,
	})
	if err != nil {
		return err
	}
	count := map[checkup.Result]int64{}
	for _, f := range found {
		count[f.Result]++
	}
	p := newDisplay(env, c.Output)
	if p.forPeople() {
		err = p.checks(found, count)
	} else {
		err = p.raw(checked{count[checkup.Failed] == 0, found})
	}
	if err == nil && count[checkup.Failed] > 0 {
		err = errChecks
	}
	return err
}

// signs are how results are shown.
var signs = map[checkup.Result]string{checkup.OK: "ok", checkup.Warning: "!", checkup.Failed: "NO", checkup.NotLookedAt: "?"}

func (p *display) checks(found []checkup.Finding, count map[checkup.Result]int64) error {
	p.form = "wide" // what to do must not be cut
	rows := make([][]string, len(found))
	for i, f := range found {
		rows[i] = []string{signs[f.Result], f.Check + ":", f.Text}
	}
	if err := p.table([]string{noHeader, "CHECK", "WHAT WAS FOUND"}, rows); err != nil {
		return err
	}
	_, err := fmt.Fprintf(p.out, "%d ok, %d to mend, %s, %d not looked at\n",
		count[checkup.OK], count[checkup.Failed], plural(count[checkup.Warning], "warning"), count[checkup.NotLookedAt])
	return err
}
