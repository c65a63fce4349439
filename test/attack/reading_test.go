//go:build attack

package attack

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

// foreignTexts shows that who may only list Hooks in one namespace reads no texts, learns nothing of
// others' namespaces, and that nobody approves what was not read.
var foreignTexts = attack{
	name: "reading and acting on what is foreign", tried: "texts, IDs and agents of another namespace, and an approval that names no question, by an account that may list Hooks in one namespace",
	run: func(a *assault) {
		reader := a.account(a, crowd, "curious")
		if _, err := a.fail(a.ctx, pay, "till", nil); err != nil {
			a.Fatal(err)
		}
		own, foreign := a.delivery(shop, "succeeded"), a.delivery(pay, "succeeded")
		a.withholdsTexts(reader, own)
		a.tellsNothing(reader, foreign)
		a.hidesAgents()
		a.wantsTheQuestion()
	},
}

// delivery waits for a delivery of a namespace in a state, and returns its ID.
func (a *assault) delivery(ns, state string) (id string) {
	a.Helper()
	await(a, "there is a delivery in "+ns+" that "+state, func() error {
		var page struct{ Items []struct{ ID string } }
		code, body := ask(a.ctx, attacker(), http.MethodGet, a.base()+"/deliveries?namespace="+ns+"&state="+state, a.judge, "")
		if err := json.Unmarshal([]byte(body), &page); code != http.StatusOK || err != nil || len(page.Items) == 0 {
			return fmt.Errorf("%d %.200s", code, body)
		}
		id = page.Items[0].ID
		return nil
	})
	return id
}

func (a *assault) withholdsTexts(reader, id string) {
	for _, path := range []string{"/deliveries/" + id, "/deliveries?namespace=" + shop, "/incidents?namespace=" + shop} {
		_, body := ask(a.ctx, attacker(), http.MethodGet, a.base()+path, reader, "")
		for _, secret := range []string{"the secret prompt", "the secret answer"} {
			if strings.Contains(body, secret) {
				a.Errorf("who may only list Hooks reads %q at %s", secret, path)
			}
		}
	}
	for _, action := range []string{"reply", "cancel", "retry", "resume"} {
		code, body := a.act(reader, id, action, `{"text":"yes"}`)
		if code != http.StatusForbidden || !strings.Contains(body, "may not") {
			a.Errorf("%s by who may only read: %d %.200s, want 403 that names the right", action, code, body)
		}
	}
}

func (a *assault) act(token, id, action, body string) (int, string) {
	if action != "reply" {
		return ask(a.ctx, attacker(), http.MethodPost, a.base()+"/deliveries/"+id+"/"+action, token, "")
	}
	return ask(a.ctx, attacker(), http.MethodPost, a.base()+"/deliveries/"+id+"/reply", token, body, "Content-Type: application/json")
}

// tellsNothing compares what is answered about a foreign ID with what is about none.
func (a *assault) tellsNothing(reader, foreign string) {
	const none = "00000000-0000-5000-8000-000000000000"
	for _, action := range []string{"", "reply", "cancel", "retry", "resume"} {
		about := func(id string) (int, string) {
			if action == "" {
				return ask(a.ctx, attacker(), http.MethodGet, a.base()+"/deliveries/"+id, reader, "")
			}
			return a.act(reader, id, action, `{"text":"yes"}`)
		}
		code, body := about(foreign)
		noCode, noBody := about(none)
		if code != http.StatusNotFound || code != noCode || strings.ReplaceAll(body, foreign, none) != noBody {
			a.Errorf("%s of a foreign ID: %d %.200s; of none: %d %.200s", action, code, body, noCode, noBody)
		}
	}
}

// hidesAgents shows that a validation by who has no rights does not tell which agents there are.
func (a *assault) hidesAgents() {
	manifest := "apiVersion: kagent.dev/v1alpha2\nkind: Hook\nmetadata: {name: h, namespace: " + pay + "}\nspec:\n  eventConfigurations:\n  - {eventType: pod-restart, agentId: kagent/medic, prompt: look}\n"
	looks := a.kagent.cards.Load()
	for i := range 5 {
		_, _ = ask(a.ctx, attacker(), http.MethodPost, a.base()+"/hooks/validate", a.nobody, strings.ReplaceAll(manifest, "medic", fmt.Sprintf("unheard-of-%d", i)), "Content-Type: application/yaml")
	}
	if n := a.kagent.cards.Load() - looks; n > 0 {
		a.Errorf("kagent was asked %d times for agents that somebody without rights named", n)
	}
}

// wantsTheQuestion lets an agent ask for an approval, and approves without saying what.
func (a *assault) wantsTheQuestion() {
	a.hook(a, enemy, "asks", asker, podRestart)
	if _, err := a.fail(a.ctx, enemy, "asked", nil); err != nil {
		a.Fatal(err)
	}
	id := a.delivery(enemy, "input-required")
	approver := a.mighty()
	for _, decision := range []string{`{"decision":"approve"}`, `{"decision":"reject"}`, `{"decision":"approve","questionId":"another"}`} {
		code, body := a.act(approver, id, "reply", decision)
		if code != http.StatusPreconditionRequired && code != http.StatusConflict {
			a.Errorf("%s: %d %.200s, want 428 or 409", decision, code, body)
		}
	}
}

// mighty is the token of an account that may do everything with the Hooks of enemy.
func (a *assault) mighty() string {
	token := a.account(a, enemy, "mighty")
	all := []rbacv1.PolicyRule{{APIGroups: []string{"kagent.dev"}, Resources: []string{"hooks", "hooks/deliveries"}, Verbs: []string{"*"}}}
	a.grant(a, "mighty", enemy, all, rbacv1.Subject{Kind: "ServiceAccount", Namespace: enemy, Name: "mighty"})
	return token
}

// readingWithoutToken shows that nothing is read without a token but that khook lives.
var readingWithoutToken = attack{
	name: "reading without a token", tried: "every route of the OpenAPI document, the metrics' port and the health's",
	run: func(a *assault) {
		routes := a.routes()
		for _, r := range routes {
			if r.path == "/api/v1/session" { // for who has none yet: it tells whether one may log in, and no more
				if code, body := ask(a.ctx, attacker(), r.method, strings.TrimSuffix(a.base(), "/api/v1")+r.path, "", ""); code >= http.StatusInternalServerError || strings.Contains(body, shop) || strings.Contains(body, pay) {
					a.Errorf("%s %s without a token: %d %.300s", r.method, r.path, code, body)
				}
				continue
			}
			if code, _ := ask(a.ctx, attacker(), r.method, strings.TrimSuffix(a.base(), "/api/v1")+r.path, "", ""); code != http.StatusUnauthorized {
				a.Errorf("%s %s without a token: %d", r.method, r.path, code)
			}
		}
		a.metricsNameNobody()
		var health map[string]any
		_, body := ask(a.ctx, attacker(), http.MethodGet, a.base()+"/health", "", "")
		if err := json.Unmarshal([]byte(body), &health); err != nil || len(health) > 2 {
			a.Errorf("the health tells everybody more than a word and a code: %.300s", body)
		}
		for _, url := range []string{a.base() + "/health", "http://" + a.khook.metrics + "/metrics", "http://" + a.khook.health + "/readyz?verbose", "http://" + a.khook.health + "/healthz?verbose"} {
			_, body := ask(a.ctx, attacker(), http.MethodGet, url, "", "")
			for _, secret := range []string{shop, pay, enemy, `namespace="kagent"`} {
				if strings.Contains(body, secret) {
					a.Errorf("%s tells everybody of %s", url, secret)
				}
			}
		}
		a.note("%d routes", len(routes))
	},
}

// metricsNameNobody scrapes a khook that watches two namespaces, as who reaches its port can.
func (a *assault) metricsNameNobody() {
	k, err := a.launch(a.TempDir(), "--namespaces", shop+","+pay)
	if err != nil {
		a.Fatal(err)
	}
	defer k.stop()
	await(a, "the second khook is ready", k.ready)
	_, body := ask(a.ctx, attacker(), http.MethodGet, "http://"+k.metrics+"/metrics", "", "")
	for line := range strings.Lines(body) {
		if strings.Contains(line, `"`+shop+`"`) || strings.Contains(line, `"`+pay+`"`) {
			a.Errorf("the metrics tell everybody: %s", line)
		}
	}
}

type route struct{ method, path string }

// routes are those of the OpenAPI document that need a token, with something in the place of each
// parameter.
func (a *assault) routes() []route {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "openapi.yaml"))
	if err != nil {
		a.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	if err := yaml.Unmarshal(text, &doc); err != nil || len(doc.Paths) == 0 {
		a.Fatalf("the OpenAPI document: %v", err)
	}
	fill := strings.NewReplacer("{namespace}", shop, "{name}", "shop", "{eventType}", podRestart, "{id}", "x")
	var all []route
	for path, methods := range doc.Paths {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
			if methods[strings.ToLower(method)] != nil && !strings.HasSuffix(path, "/health") {
				all = append(all, route{method, fill.Replace(path)})
			}
		}
	}
	return all
}

// rebinding shows that without authentication a page of another site, whose name stands for this machine,
// reads nothing.
var rebinding = attack{
	name: "DNS rebinding", tried: "with --api-auth=none: requests of all methods, event streams and WebSockets with the Host of another site, on each listener",
	run: func(a *assault) {
		k, err := a.launch(a.TempDir(), "--api-auth", "none")
		if err != nil {
			a.Fatal(err)
		}
		defer k.stop()
		await(a, "the second khook is ready", k.ready)
		api := "http://" + k.api + "/api/v1"
		targets := []string{api + "/events", api + "/hooks", api + "/events/stream", api + "/health", api + "/metrics", "http://" + k.metrics + "/metrics", "http://" + k.health + "/readyz"}
		c := from(attackersAddress, false)
		for _, host := range []string{"evil.example", "evil.example:8082", "localhost.evil.example", "127.0.0.1.evil.example"} {
			for _, url := range targets {
				for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodOptions} {
					if code, body := ask(a.ctx, c, method, url, "", "", "Host: "+host); code != http.StatusMisdirectedRequest {
						a.Errorf("%s %s for %s: %d %.80s, want 421", method, url, host, code, body)
					}
				}
			}
			code, _ := ask(a.ctx, c, http.MethodGet, api+"/events/stream", "", "", "Host: "+host, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
			if code != http.StatusMisdirectedRequest {
				a.Errorf("a WebSocket for %s: %d, want 421", host, code)
			}
		}
		_, port, _ := strings.Cut(k.api, ":")
		for _, host := range []string{k.api, "localhost:" + port, "localhost.:" + port, "[::1]:" + port} {
			if code, body := ask(a.ctx, c, http.MethodGet, api+"/events", "", "", "Host: "+host); code != http.StatusOK {
				a.Errorf("for %s: %d %.200s, want 200", host, code, body)
			}
		}
	},
}
