//go:build attack

package attack

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	_ "modernc.org/sqlite" // the driver "sqlite"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kagent-dev/khook/api/v1alpha2"
)

// costlyExpressions shows that one Hook can't slow the recording of the cluster.
var costlyExpressions = attack{
	name: "costly match expressions", tried: "a Hook with 50 expressions that compare all labels with each other, and failing Pods with 60 labels",
	run: func(a *assault) {
		medic := "kagent/medic"
		h := &v1alpha2.Hook{ObjectMeta: metav1.ObjectMeta{Namespace: enemy, Name: "costly"}}
		for i := range 50 {
			h.Spec.EventConfigurations = append(h.Spec.EventConfigurations, v1alpha2.EventConfiguration{
				EventType: podRestart, AgentId: &medic, Prompt: "look",
				Match: fmt.Sprintf(`event.labels.exists(a, event.labels.exists(b, event.labels[a] + event.labels[b] == "never%d"))`, i),
			})
		}
		a.create(a, h)
		n := a.size(20, 200)
		at := a.failMany(enemy, "costly", n, func(p *corev1.Pod) {
			for i := range 60 {
				p.Labels[fmt.Sprintf("label-%d", i)] = strings.Repeat("v", 60)
			}
		})
		lags := a.recorded(a, enemy, at)
		a.note("%d Pods failed there too, all recorded: %d", n, len(lags))
	},
	undo: func(s *site) {
		_ = s.client.DeleteAllOf(context.Background(), &v1alpha2.Hook{}, client.InNamespace(enemy))
	},
}

// failMany lets many Pods of a namespace fail, each of a workload of its own, as fast as the API server
// takes it, and returns when each did.
func (a *assault) failMany(ns, prefix string, n int, change func(*corev1.Pod)) map[string]time.Time {
	var mu sync.Mutex
	at := map[string]time.Time{}
	a.each(n, 16, func(i int) {
		name := fmt.Sprintf("%s-%d", prefix, i)
		failed, err := a.fail(a.ctx, ns, name, change)
		if err != nil {
			a.Errorf("let %s fail: %v", name, err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		at[name] = failed
	})
	return at
}

// stormOfGroups shows that the cost of an event does not grow with the groups that fail.
var stormOfGroups = attack{
	name: "a storm of groups", tried: "Pods of 4,000 workloads (400 in the short form) fail, each a group of its own",
	run: func(a *assault) {
		a.create(a, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "storm"}})
		a.hook(a, "storm", "storm", "medic", podRestart)
		n := a.size(400, 4000)
		lags := a.recorded(a, "storm", a.failMany("storm", "g", n, nil))
		a.note("%d of %d recorded", len(lags), n)
	},
}

// rowThatCannotBeSaved shows that a row that the history refuses is put aside, and holds up no other.
var rowThatCannotBeSaved = attack{
	name: "a row that can't be saved", tried: "the database refuses the events of one Pod (a trigger), while others fail",
	run: func(a *assault) {
		a.inHistory(`CREATE TRIGGER poison BEFORE INSERT ON events WHEN NEW.name = 'poison' BEGIN SELECT RAISE(ABORT, 'this row is poison'); END`)
		defer a.inHistory(`DROP TRIGGER poison`)
		if _, err := a.fail(a.ctx, enemy, "poison", nil); err != nil {
			a.Fatal(err)
		}
		at := a.failMany(enemy, "beside-poison", 10, nil)
		lags := a.recorded(a, enemy, at)
		a.note("%d of %d others recorded", len(lags), len(at))
	},
	undo: func(s *site) {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: enemy, Name: "poison"}}
		_ = s.client.Delete(context.Background(), pod, client.GracePeriodSeconds(0))
	},
}

// inHistory changes the file of the history, as only who has its volume could.
func (a *assault) inHistory(statement string) {
	a.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(a.dir, "khook.db")+"?_pragma=busy_timeout(30000)")
	if err != nil {
		a.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(context.Background(), statement); err != nil {
		a.Fatal(err)
	}
}
