//go:build attack

package attack

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kagent-dev/khook/api/v1alpha2"
)

// bombs are prompts of some hundred bytes whose rendering, or a step of it, would take more than 512 MiB.
func bombs() map[string]string {
	nested := func(begin, end, core string, n int) string {
		return "{{" + strings.Repeat(begin, n) + core + strings.Repeat(end, n) + "}}"
	}
	all := map[string]string{
		"replace":  nested(`replace "a" "aaaaaaaaaa" (`, `)`, `print "a"`, 10),
		"quote":    nested(`quote (`, `)`, `print "\""`, 31),
		"print":    `{{$x := "aaaaaaaaaa"}}` + strings.Repeat(`{{$x = print $x $x $x $x $x $x $x $x}}`, 9),
		"printf":   `{{$x := "aaaaaaaaaa"}}` + strings.Repeat(`{{$x = printf "%[1]s%[1]s%[1]s%[1]s%[1]s%[1]s%[1]s%[1]s" $x}}`, 9),
		"width":    `{{printf "` + strings.Repeat("%[1]999999d", 35) + `" 1}}`,
		"define":   `{{define "a"}}{{template "a"}}{{end}}{{template "a"}}`,
		"pipeline": `{{print "a"` + strings.Repeat(` | replace "a" "aaaaaaaaaa"`, 10) + ` | len}}`,
	}
	all["untaken"] = `{{if eq .EventType "never"}}` + all["replace"] + `{{end}}`
	all["later"] = `{{if eq .ResourceName "bombed"}}` + all["replace"] + `{{end}}`
	all["default"] = `{{default "" (` + strings.Trim(all["replace"], "{}") + `)}}`
	return all
}

// promptBombsValidated shows that anybody with a token can have a hostile prompt checked without harm.
var promptBombsValidated = attack{
	name: "prompt bombs, validated", tried: "prompts of 50 to 600 bytes that grow to gigabytes, by a token without rights, several at once",
	run: func(a *assault) {
		var got statuses
		c := attacker()
		rounds := a.size(1, 4)
		for kind, prompt := range bombs() {
			manifest := fmt.Sprintf("apiVersion: kagent.dev/v1alpha2\nkind: Hook\nmetadata: {name: bomb, namespace: %s}\nspec:\n  eventConfigurations:\n  - {eventType: pod-restart, agentId: kagent/medic, prompt: %s}\n", enemy, strconv.Quote(prompt))
			a.each(3*rounds, 3, func(int) {
				code, body := ask(a.ctx, c, http.MethodPost, a.base()+"/hooks/validate", a.nobody, manifest, "Content-Type: application/yaml")
				got.add(code)
				if len(body) > 1<<20 {
					a.Errorf("the answer about %s has %d bytes", kind, len(body))
				}
			})
		}
		a.note("answers %s", &got)
	},
}

// promptBombsApplied shows that a hostile Hook in one namespace harms nobody: it is marked invalid, also
// by a khook that starts when it is there already. One whose bomb goes off at an event only may be taken: then
// the event is told in what fits.
var promptBombsApplied = attack{
	name: "prompt bombs, applied", tried: "the same as Hooks in one namespace; khook is started again while they are there, and a Pod fails there",
	run: func(a *assault) {
		for kind, prompt := range bombs() {
			id := "kagent/medic"
			h := &v1alpha2.Hook{ObjectMeta: metav1.ObjectMeta{Namespace: enemy, Name: "bomb-" + kind}, Spec: v1alpha2.HookSpec{
				EventConfigurations: []v1alpha2.EventConfiguration{{EventType: podRestart, AgentId: &id, Prompt: prompt}}}}
			a.create(a, h)
			await(a, "khook has judged the Hook with "+kind, func() error {
				if !a.khook.alive() {
					a.Fatalf("khook died of %s", kind)
				}
				if err := a.client.Get(a.ctx, client.ObjectKeyFromObject(h), h); err != nil {
					return err
				}
				return judged(h, kind != "untaken" && kind != "later")
			})
		}
		a.restart(a)
		failed, err := a.fail(a.ctx, enemy, "bombed", nil)
		if err != nil {
			a.Fatal(err)
		}
		a.recorded(a, enemy, map[string]time.Time{"bombed": failed})
		a.note("%d Hooks, judged also after a start", len(bombs()))
	},
	undo: func(s *site) {
		_ = s.client.DeleteAllOf(context.Background(), &v1alpha2.Hook{}, client.InNamespace(enemy))
	},
}

// judged returns nil when khook has said whether it takes a Hook.
func judged(h *v1alpha2.Hook, refused bool) error {
	c := meta.FindStatusCondition(h.Status.Conditions, v1alpha2.ConditionReady)
	if c == nil || refused && c.Reason != v1alpha2.ReasonInvalidConfiguration {
		return fmt.Errorf("its condition is %v", c)
	}
	return nil
}
