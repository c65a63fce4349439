package system

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// TestADeliveryThatWaitsIsSentAsItWasMatchedOrNotAtAll changes Hooks in all ways while kagent is away.
func TestADeliveryThatWaitsIsSentAsItWasMatchedOrNotAtAll(t *testing.T) {
	other := "elsewhere/medic"
	for name, tc := range map[string]struct {
		change func(*v1alpha2.Hook) bool // whether there is still a Hook
		args   []string                  // of the khook that goes on
		want   delivery.Skip
	}{
		"another prompt and agent": {func(h *v1alpha2.Hook) bool {
			h.Spec.EventConfigurations[0].Prompt, h.Spec.EventConfigurations[0].AgentId = "something else", &other
			return true
		}, nil, ""},
		"no longer about it": {func(h *v1alpha2.Hook) bool {
			h.Spec.EventConfigurations[0].EventType = string(incident.PodPending)
			return true
		}, nil, ""},
		"suspended":            {func(h *v1alpha2.Hook) bool { h.Spec.Suspend = true; return true }, nil, delivery.SkipSuspended},
		"deleted":              {func(*v1alpha2.Hook) bool { return false }, nil, delivery.SkipDeleted},
		"the agent is refused": {func(*v1alpha2.Hook) bool { return true }, []string{"--agent-namespaces=others"}, delivery.SkipForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			kagent := kagenttest.New(t, kagenttest.Options{})
			kagent.Inject(kagenttest.Fault{Times: -1, Status: 503})
			ns, dir := namespace(t), t.TempDir()
			h := applyHook(t, ns, "shop", incident.OOMKill)
			args := append(settings(kagent, dir), "--stabilization=1h")
			khook := controller(t, args...).ready()
			crashLoops(t, newPod(t, ns, "cart", "cart-1"), 1, "OOMKilled")
			state := func(ok func(*delivery.Delivery) bool) (d *delivery.Delivery) {
				t.Helper()
				eventually(t, "the delivery is as far as it comes", func() error {
					all := readDeliveries(t, filepath.Join(dir, "khook.db"))
					if len(all) != 1 || !ok(all[0]) {
						return fmt.Errorf("%d deliveries", len(all))
					}
					d = all[0]
					return nil
				})
				return d
			}
			prompt := state(func(d *delivery.Delivery) bool { return d.State == delivery.Pending && d.Attempt > 0 }).Prompt
			khook.kill() // so that what changes is what it finds
			if now := hookNow(t, h); tc.change(now) {
				if err := testCluster.client.Update(t.Context(), now); err != nil {
					t.Fatal(err)
				}
			} else if err := testCluster.client.Delete(t.Context(), now); err != nil {
				t.Fatal(err)
			}
			kagent.Heal()
			controller(t, append(args, tc.args...)...).ready()
			d := state(func(d *delivery.Delivery) bool { return d.State.Ended() })
			if d.Skipped != tc.want {
				t.Errorf("it is %s, skipped %q: %s", d.State, d.Skipped, d.Error)
			}
			messages := kagent.Messages()
			if tc.want != "" {
				if len(messages) != 0 {
					t.Errorf("the agent was called %d times", len(messages))
				}
				return
			}
			if len(messages) != 1 || messages[0].Text != prompt || messages[0].Agent != (delivery.AgentRef{Namespace: "kagent", Name: "medic"}) {
				t.Errorf("the agent got %+v", messages)
			}
		})
	}
}
