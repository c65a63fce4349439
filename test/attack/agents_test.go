//go:build attack

package attack

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kagent-dev/khook/api/v1alpha2"
)

const gluttony = "gluttony" // the namespace whose Hooks call the gluttons

// gluttonousAgents shows that answers being decoded are bounded in all, not only each.
var gluttonousAgents = attack{
	name: "gluttonous agents", tried: "10 agents (20 in the full form) that answer 8 MiB of small parts at the same time",
	run: func(a *assault) {
		a.create(a, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: gluttony}})
		a.kagent.hungry.Store(true)
		defer a.kagent.hungry.Store(false)
		n := a.size(10, 20)
		for i := range n {
			a.hook(a, gluttony, fmt.Sprintf("h%d", i), fmt.Sprintf("%s-%d", glutton, i), podRestart)
		}
		if _, err := a.fail(a.ctx, gluttony, "hungry", nil); err != nil {
			a.Fatal(err)
		}
		await(a, "what the gluttons answered was taken or refused", func() error {
			if !a.khook.alive() {
				a.Fatal("khook died of the answers")
			}
			return a.digested(n)
		})
		a.note("%d answers were sent whole", a.kagent.meals.Load())
	},
	undo: func(s *site) {
		_ = s.client.DeleteAllOf(context.Background(), &v1alpha2.Hook{}, client.InNamespace(gluttony))
	},
}

// digested returns nil when the first call of each of so many gluttons is over, however it ended.
func (a *assault) digested(n int) error {
	var page struct {
		Items []struct {
			State   string
			Attempt int
		}
	}
	code, body := ask(a.ctx, attacker(), http.MethodGet, a.base()+"/deliveries?namespace="+gluttony, a.judge, "")
	if err := json.Unmarshal([]byte(body), &page); err != nil || code != http.StatusOK {
		return fmt.Errorf("list the deliveries: %d %.200s", code, body)
	}
	over := 0
	for _, d := range page.Items {
		if d.Attempt > 1 || d.Attempt == 1 && d.State != "calling" {
			over++
		}
	}
	if over < n {
		return fmt.Errorf("%d of %d calls are over: %v", over, n, page.Items)
	}
	return nil
}
