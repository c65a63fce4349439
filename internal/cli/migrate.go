package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/kagent-dev/khook/internal/store"
	"github.com/kagent-dev/khook/internal/store/postgres"
)

// migrateCmd is khook migrate.
type migrateCmd struct {
	From    string  `help:"SQLite file of the history; it is only read." required:"" placeholder:"FILE"`
	To      string  `help:"URL of the PostgreSQL database." env:"KHOOK_DATABASE" placeholder:"URL"`
	ToFile  string  `name:"to-file" help:"File with the URL of the PostgreSQL database; it wins over --to." env:"KHOOK_DATABASE_FILE" placeholder:"FILE"`
	Cluster *string `help:"Name of the one cluster whose history is copied; all that the file has, if it is not given." placeholder:"NAME"`
}

// Help is shown below the flags.
func (migrateCmd) Help() string {
	return `Stop khook before, and start it with the database after; what the history knows stays known, so that agents go on with their tasks and nobody is called again. If the copy is interrupted, run it again: it goes on where it stopped. At the end, all rows of both are compared, and only then a khook may go on with the copy.

  KHOOK_DATABASE=postgres://khook:PASSWORD@db.example.com/khook khook migrate --from khook.db`
}

// Run copies the history.
func (c *migrateCmd) Run(ctx context.Context, env Env) error {
	if c.To == "" && c.ToFile == "" {
		return wrongUsage("say where to: --to-file, --to or KHOOK_DATABASE")
	}
	database, err := postgres.Named(c.To, c.ToFile, postgres.MinConnections)
	if err != nil {
		return err
	}
	if database == nil {
		return wrongUsage("--to is not the URL of a PostgreSQL database, such as postgres://khook@db.example.com/khook")
	}
	shown := &copyDisplay{display: newDisplay(env, "table")}
	copied, err := store.Copy(ctx, store.CopyConfig{From: c.From, To: database, Cluster: c.Cluster, Progress: shown.progress})
	shown.end()
	for _, one := range copied {
		if err := shown.result(one); err != nil {
			return err
		}
	}
	return err
}

// copyDisplay shows how far a copy is: in one line that is written over on a terminal, else a line for each table.
type copyDisplay struct {
	*display
	bar  bool // one is shown
	last time.Time
}

// A bar is drawn anew no more often than barEvery; where there is none, a large table is told of every linesEvery.
const (
	barEvery   = 50 * time.Millisecond
	linesEvery = 10 * time.Second
)

func (d *copyDisplay) progress(p store.CopyProgress) {
	done, now := p.Rows >= p.Of, time.Now()
	every := linesEvery
	if d.width > 0 {
		every = barEvery
	}
	if done && d.width == 0 && p.Of == 0 || !done && now.Sub(d.last) < every {
		return
	}
	d.last = now
	verb := "copied"
	if p.Checking {
		verb = "compared"
	}
	text := fmt.Sprintf("%s: %s %d of %d", p.Table, verb, p.Rows, p.Of)
	if p.Resumed {
		text += ", some of them by an earlier run"
	}
	if d.width == 0 {
		fmt.Fprintln(d.out, text)
		return
	}
	d.bar = true
	fmt.Fprint(d.out, "\r\x1b[K", d.cut(barOf(p.Rows, p.Of)+" "+text))
}

// barOf is a bar of so many parts.
func barOf(n, of int64) string {
	const parts = 20
	full := parts
	if of > 0 {
		full = int(min(parts, parts*n/of))
	}
	return "[" + strings.Repeat("#", full) + strings.Repeat(" ", parts-full) + "]"
}

// end takes the bar away.
func (d *copyDisplay) end() {
	if d.bar {
		fmt.Fprint(d.out, "\r\x1b[K")
	}
}

func (d *copyDisplay) result(c store.Copied) error {
	rows := make([][]string, len(c.Tables))
	for i, t := range c.Tables {
		rows[i] = []string{t.Name, fmt.Sprint(t.Rows), t.Sum[:16]}
	}
	if err := d.table([]string{"TABLE", "ROWS", "SHA-256 OF BOTH"}, rows); err != nil {
		return err
	}
	verb := "is in the database now"
	if c.Already {
		verb = "was in the database already"
	}
	number := ""
	if c.To.No != c.From.No {
		number = fmt.Sprintf(", where its number is %d: events have other IDs", c.To.No)
	}
	_, err := fmt.Fprintf(d.out, "The history of cluster %q %s%s. Start khook with it.\n", c.To.Name, verb, number)
	return err
}
