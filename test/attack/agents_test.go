//go:build attack

package attack

import (
	"context"
	"errors"
	"fmt"

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
		n := a.size(10, 20)
		for i := range n {
			a.hook(a, gluttony, fmt.Sprintf("h%d", i), fmt.Sprintf("%s-%d", glutton, i), podRestart)
		}
		if _, err := a.fail(a.ctx, gluttony, "hungry", nil); err != nil {
			a.Fatal(err)
		}
		await(a, "all gluttons have answered, as far as khook listened", func() error {
			if !a.khook.alive() {
				a.Fatal("khook died of the answers")
			}
			if a.kagent.meals.Load() < int64(n) {
				return fmt.Errorf("%d of %d", a.kagent.meals.Load(), n)
			}
			if a.kagent.eaters.Load() > 0 {
				return errors.New("some are still answering")
			}
			return nil
		})
		a.note("%d answers were read", a.kagent.meals.Load())
	},
	undo: func(s *site) {
		_ = s.client.DeleteAllOf(context.Background(), &v1alpha2.Hook{}, client.InNamespace(gluttony))
	},
}
