package system

import (
	"cmp"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// TestTheDiagramOfDeliveriesIsWhatHappens lets a container be OOM-killed, its agent work and the
// container heal, and holds the diagram in docs/deliveries.md against who told whom what, and when.
func TestTheDiagramOfDeliveriesIsWhatHappens(t *testing.T) {
	free := make(chan struct{})
	kagent := kagenttest.New(t, kagenttest.Options{NoStream: true, Script: func(kagenttest.Message) kagenttest.Act {
		return kagenttest.Act{Until: free, Answer: "done"}
	}})
	ns, dir := namespace(t), t.TempDir()
	applyHook(t, ns, "shop", incident.OOMKill)
	khook := controller(t, append(settings(kagent, dir), "--stabilization=1s")...).ready()
	o := &observed{t: t, file: filepath.Join(dir, "khook.db")}
	p := newPod(t, ns, "cart", "cart-abc-1")
	o.add(time.Now(), "C->>K: a container was OOM-killed")
	crashLoops(t, p, 1, "OOMKilled")
	o.until("the agent works", func(d *delivery.Delivery) bool { return d.State == delivery.Working })
	close(free)
	o.until("the agent has finished", func(d *delivery.Delivery) bool { return d.State == delivery.Succeeded })
	o.add(time.Now(), "C->>K: the container is healthy")
	becomes(t, p, 1, "OOMKilled") // its last end stays what it was
	d := o.until("the outcome is known", func(d *delivery.Delivery) bool { return d.Outcome != "" })
	khook.stop()
	o.addHistory(d)
	o.addRequests(kagent, d)
	if diff := gocmp.Diff(diagram(t), o.arrows()); diff != "" {
		t.Errorf("docs/deliveries.md shows something else than what happened (-shown +happened):\n%s", diff)
	}
}

// diagram is the sequence of arrows that the document shows.
func diagram(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "deliveries.md"))
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`\w--?>>\w: .*`).FindAllString(string(text), -1)
}

// observed is who told whom what, and when.
type observed struct {
	t    *testing.T
	file string
	all  []arrow
}

type arrow struct {
	at   time.Time
	text string
}

func (o *observed) add(at time.Time, format string, args ...any) {
	o.all = append(o.all, arrow{at, fmt.Sprintf(format, args...)})
}

func (o *observed) arrows() []string {
	slices.SortStableFunc(o.all, func(a, b arrow) int { return cmp.Compare(a.at.UnixMicro(), b.at.UnixMicro()) })
	var texts []string
	for _, a := range o.all {
		texts = append(texts, a.text)
	}
	return texts
}

// until waits for the delivery to be as ok says.
func (o *observed) until(what string, ok func(*delivery.Delivery) bool) (found *delivery.Delivery) {
	o.t.Helper()
	eventually(o.t, what, func() error {
		all := readDeliveries(o.t, o.file)
		if len(all) != 1 || !ok(all[0]) {
			return fmt.Errorf("%d deliveries", len(all))
		}
		found = all[0]
		return nil
	})
	return found
}

// addHistory adds what was written of the delivery, its incident and that one's event: an arrow for
// each transaction.
func (o *observed) addHistory(d *delivery.Delivery) {
	o.t.Helper()
	st := openHistory(o.t, o.file)
	defer st.Close()
	changes := o.changeLog()
	events, err := st.IncidentEvents(o.t.Context(), d.IncidentID, 10)
	if err != nil || len(events) != 1 {
		o.t.Fatalf("%d events, %v", len(events), err)
	}
	concerned := []string{d.ID, d.IncidentID, fmt.Sprint(events[0].ID)}
	changes = slices.DeleteFunc(changes, func(c logged) bool { return !slices.Contains(concerned, c.ID) })
	for i := 0; i < len(changes); {
		var told []string
		at := changes[i].At
		for ; i < len(changes) && changes[i].At.Equal(at); i++ {
			told = append(told, changes[i].Kind+" "+changes[i].State)
		}
		if at.Equal(changes[len(changes)-1].At) {
			told = []string{"outcome " + string(d.Outcome)}
		}
		o.add(at, "K->>H: %s", strings.Join(told, ", "))
	}
}

// logged is one entry of the change log.
type logged struct {
	Kind, ID, State string
	At              time.Time
}

// changeLog reads what was written, in order. khook itself never reads it all.
func (o *observed) changeLog() (entries []logged) {
	o.t.Helper()
	db, err := sql.Open("sqlite", "file:"+o.file+"?mode=ro")
	if err != nil {
		o.t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(o.t.Context(), "SELECT kind, id, state, at FROM changes ORDER BY seq")
	if err != nil {
		o.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var e logged
		var us int64
		if err := rows.Scan(&e.Kind, &e.ID, &e.State, &us); err != nil {
			o.t.Fatal(err)
		}
		e.At = time.UnixMicro(us)
		entries = append(entries, e)
	}
	if err := rows.Err(); err != nil {
		o.t.Fatal(err)
	}
	return entries
}

// addRequests adds what was asked of the agent, without the looks at its task that told nothing new.
func (o *observed) addRequests(kagent *kagenttest.Server, d *delivery.Delivery) {
	sends, looks := kagent.Requests(kagenttest.Send), kagent.Requests(kagenttest.Get)
	if len(sends) != 1 || len(looks) == 0 {
		o.t.Fatalf("%d sends, %d looks", len(sends), len(looks))
	}
	last := looks[len(looks)-1]
	for i, r := range []kagenttest.Request{sends[0], last} {
		o.add(r.At, "K->>A: %s", r.Kind)
		o.add(r.At, "A-->>K: %s", []string{"task", "task " + d.TaskState}[i])
	}
}
