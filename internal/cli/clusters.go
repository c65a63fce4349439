package cli

import (
	"context"
	"fmt"
	"strconv"

	"github.com/kagent-dev/khook/internal/store"
)

// clustersCmd is khook clusters.
type clustersCmd struct {
	List  clustersListCmd  `cmd:"" default:"withargs" help:"List the clusters whose histories are in the database."`
	Adopt clustersAdoptCmd `cmd:"" help:"Let a cluster that was built anew take over the history of its name."`
}

// Help is shown below the commands.
func (clustersCmd) Help() string {
	return `A history belongs to a cluster, which is known by the UID of its namespace kube-system (or by --cluster-uid). khook refuses a history that is of another cluster of the same name: it would take the failures of the one for those of the other.

These commands work on the database, also while khook runs:

  kubectl -n kagent exec deploy/khook -- /khook clusters --config=/etc/khook/khook.yaml`
}

// clustersListCmd is khook clusters list.
type clustersListCmd struct {
	historyFlags
	Output string `short:"o" help:"Form of the output: table, wide, json or yaml." default:"table" enum:"table,wide,json,yaml"`
}

// clusterLine is a cluster as JSON.
type clusterLine struct {
	Number int64  `json:"number"`
	Name   string `json:"name"`
	UID    string `json:"uid"`
}

// Run lists the clusters.
func (c *clustersListCmd) Run(ctx context.Context, env Env) error {
	cfg, err := c.config("clusters")
	if err != nil {
		return err
	}
	clusters, err := store.Clusters(ctx, cfg)
	if err != nil {
		return err
	}
	lines := make([]clusterLine, len(clusters))
	rows := make([][]string, len(clusters))
	for i, one := range clusters {
		lines[i] = clusterLine{one.No, one.Name, one.UID}
		rows[i] = []string{strconv.FormatInt(one.No, 10), one.Name, one.UID}
	}
	p := newDisplay(env, c.Output)
	if !p.forPeople() {
		return p.raw(map[string]any{"data": lines})
	}
	return p.table([]string{"NUMBER", "NAME", "UID"}, rows)
}

// clustersAdoptCmd is khook clusters adopt.
type clustersAdoptCmd struct {
	Name string `arg:"" help:"Name of the cluster; '' for the one without a name."`
	historyFlags
}

// Run lets go of the UID that is known of the cluster.
func (c *clustersAdoptCmd) Run(ctx context.Context, env Env) error {
	return c.with(ctx, "clusters adopt", func(st *store.Store) error {
		if err := st.Adopt(ctx, c.Name); err != nil {
			return err
		}
		_, err := fmt.Fprintf(env.Out, "The next khook that is started as cluster %q takes its history over.\n", c.Name)
		return err
	})
}
