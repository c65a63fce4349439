package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/alecthomas/kong"

	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
	"github.com/kagent-dev/khook/internal/store/postgres"
)

// deadLettersCmd is khook dead-letters.
type deadLettersCmd struct {
	List   deadLettersListCmd   `cmd:"" default:"withargs" help:"List what was put aside, the newest first."`
	Replay deadLettersReplayCmd `cmd:"" help:"Let the leader try to record it again, within half a minute or when it is started."`
	Drop   deadLettersDropCmd   `cmd:"" help:"Delete what was put aside."`
}

// Help is shown below the commands.
func (deadLettersCmd) Help() string {
	return `A dead letter is what khook saw in the cluster and could not record because of what it says, such as a text that the database refuses. It is put aside so that all else is recorded.

These commands work on the file of the history, also while khook runs:

  kubectl -n kagent exec deploy/khook -- /khook dead-letters --config=/etc/khook/khook.yaml`
}

// historyFlags say where the history is.
type historyFlags struct {
	Database     string          `help:"SQLite file of the history, or the URL of a PostgreSQL database." default:"khook.db" env:"KHOOK_DATABASE" placeholder:"FILE|URL"`
	DatabaseFile string          `name:"database-file" help:"File with the URL of the PostgreSQL database; it wins over --database." env:"KHOOK_DATABASE_FILE" placeholder:"FILE"`
	Cluster      string          `help:"Name of the cluster, where the database has the histories of several." env:"KHOOK_CLUSTER" placeholder:"NAME"`
	Config       kong.ConfigFlag `help:"YAML file with the flags of khook controller." placeholder:"FILE"`
}

// config says where the history is, which must be there.
func (f *historyFlags) config(command string) (store.Config, error) {
	visit := store.Config{Path: f.Database, Cluster: f.Cluster, Visit: true}
	database, err := postgres.Named(f.Database, f.DatabaseFile, postgres.MinConnections)
	switch {
	case err != nil:
		return visit, err
	case database != nil:
		visit.Engine = database
		return visit, nil
	}
	if _, err := os.Stat(f.Database); err != nil {
		return visit, fmt.Errorf("there is no history to read: %w; it is in the database that khook controller writes, and not in its API: "+
			"kubectl -n kagent exec deploy/khook -- /khook %s --config=/etc/khook/khook.yaml, or name the file (--database)", err, command)
	}
	return visit, nil
}

// with runs do on the history, for a command.
func (f *historyFlags) with(ctx context.Context, command string, do func(*store.Store) error) error {
	cfg, err := f.config(command)
	if err != nil {
		return err
	}
	st, err := store.Open(ctx, cfg)
	if err != nil {
		return err
	}
	return errors.Join(do(st), st.Close())
}

// deadLettersListCmd is khook dead-letters list.
type deadLettersListCmd struct {
	historyFlags
	Output string `short:"o" help:"Form of the output: table, wide, json or yaml." default:"table" enum:"table,wide,json,yaml"`
}

// Run lists the dead letters.
func (c *deadLettersListCmd) Run(ctx context.Context, env Env) error {
	return c.with(ctx, "dead-letters", func(st *store.Store) error {
		letters, err := st.DeadLetters(ctx, store.MaxDeadLetters)
		if err != nil {
			return err
		}
		if letters == nil {
			letters = []*incident.DeadLetter{} // a list in JSON, and not null
		}
		p := newDisplay(env, c.Output)
		if !p.forPeople() {
			return p.raw(map[string]any{"data": letters})
		}
		if len(letters) == 0 {
			_, err := fmt.Fprintln(env.Out, "Nothing was put aside.")
			return err
		}
		return p.table([]string{"ID", "AGE", "TIMES", "NAMESPACE", "RESOURCE", "EVENT", "EVENT RECORDED", "FAULT", "REPLAY", "ERROR"}, deadLetterRows(p, letters), "EVENT RECORDED", "TIMES", "FAULT", "REPLAY", namespaceColumn)
	})
}

func deadLetterRows(p *display, letters []*incident.DeadLetter) [][]string {
	rows := make([][]string, len(letters))
	for i, d := range letters {
		s := d.Signal
		rows[i] = []string{
			d.ID, p.age(d.LastAt), strconv.FormatInt(d.Times, 10), s.Resource.Namespace, s.Resource.Name, string(s.Type),
			yesNo(d.Recorded), string(d.Fault), yesNo(d.Wanted), d.Error,
		}
	}
	return rows
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// letterFlags name dead letters.
type letterFlags struct {
	IDs []string `arg:"" optional:"" name:"id" help:"IDs of dead letters."`
	All bool     `help:"All of them."`
	historyFlags
}

// Validate checks what kong can't.
func (f *letterFlags) Validate() error {
	if f.All == (len(f.IDs) > 0) {
		return errors.New("name the dead letters by their IDs, or give --all")
	}
	return nil
}

// change does something with the letters that are named.
func (f *letterFlags) change(ctx context.Context, env Env, done string, do func(*store.Store) (int, error)) error {
	return f.with(ctx, "dead-letters", func(st *store.Store) error {
		n, err := do(st)
		if err != nil {
			return err
		}
		if n > 0 || len(f.IDs) == 0 {
			_, err = fmt.Fprintln(env.Out, plural(n, "dead letter"), done)
		}
		if n < len(f.IDs) {
			return fmt.Errorf("%d of %s %s there: khook dead-letters lists them", n, plural(len(f.IDs), "dead letter"), incident.Are(n))
		}
		return err
	})
}

// deadLettersReplayCmd is khook dead-letters replay.
type deadLettersReplayCmd struct{ letterFlags }

// Run asks the leader to record dead letters.
func (c *deadLettersReplayCmd) Run(ctx context.Context, env Env) error {
	return c.change(ctx, env, "will be tried again by the leader; what can be recorded leaves the list", func(st *store.Store) (int, error) {
		return st.ReplayDeadLetters(ctx, c.IDs...)
	})
}

// deadLettersDropCmd is khook dead-letters drop.
type deadLettersDropCmd struct{ letterFlags }

// Run deletes dead letters.
func (c *deadLettersDropCmd) Run(ctx context.Context, env Env) error {
	return c.change(ctx, env, "dropped", func(st *store.Store) (int, error) { return st.DropDeadLetters(ctx, c.IDs...) })
}
