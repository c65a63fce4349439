package system

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// TestEveryExampleOfTheAPIDocsWorks runs the examples of docs/api.md as a reader would: the
// manifests are applied, the commands run with a token of the account that they make, and the
// answers must have what is shown.
//
// The rules for who writes docs/api.md: a block in sh that has $KHOOK_SERVER in it is run, on its own, by
// bash in an empty folder; others are not. The block after it, if it is in json, yaml or text, is
// its answer: of JSON the fields shown must be there, of the others the lines. Other blocks in
// yaml are manifests, which are applied before.
func TestEveryExampleOfTheAPIDocsWorks(t *testing.T) {
	page := readPage(t, filepath.Join("..", "..", "docs", "api.md"))
	khook := storyOfTheDocs(t)
	account := page.apply(t)
	token := tokenOf(t, account)
	for _, e := range page.examples {
		t.Run(fmt.Sprintf("line %d", e.line), func(t *testing.T) {
			if strings.Contains(e.script, "state=input-required") || strings.Contains(e.script, "/inbox") {
				awaitQuestion(caller{t, khook.base + api.Base, token})
			}
			e.works(t, khook.base, token)
			e.failsAloud(t, khook.base)
		})
	}
	t.Run("each route has an example", func(t *testing.T) {
		page.showsAllRoutes(t, caller{t, khook.base + api.Base, token})
	})
}

// example is a command of the docs with its answer.
type example struct {
	line   int
	script string
	lang   string // of the answer; empty if none is shown
	answer string
}

// docsPage is what a page of the docs has to try.
type docsPage struct {
	examples  []*example
	manifests []string
}

var fence = regexp.MustCompile("(?ms)^ *```([a-z]+)\n(.*?)^ *```$")

func readPage(t *testing.T, path string) *docsPage {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var page docsPage
	var open *example // waits for its answer
	for _, at := range fence.FindAllSubmatchIndex(text, -1) {
		lang, body := string(text[at[2]:at[3]]), string(text[at[4]:at[5]])
		switch {
		case lang == "sh" && strings.Contains(body, "$KHOOK_SERVER"):
			open = &example{line: bytes.Count(text[:at[0]], []byte("\n")) + 1, script: body}
			page.examples = append(page.examples, open)
			continue
		case open != nil && slices.Contains([]string{"json", "yaml", "text"}, lang):
			open.lang, open.answer = lang, body
		case lang == "yaml":
			page.manifests = append(page.manifests, body)
		}
		open = nil
	}
	if len(page.examples) == 0 || len(page.manifests) == 0 {
		t.Fatalf("%d examples and %d manifests found in %s", len(page.examples), len(page.manifests), path)
	}
	return &page
}

// apply applies the manifests, and returns the account that they make.
func (p *docsPage) apply(t *testing.T) (account *unstructured.Unstructured) {
	t.Helper()
	for doc := range strings.SplitSeq(strings.Join(p.manifests, "---\n"), "---\n") {
		obj := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict([]byte(doc), &obj.Object); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		if err := testCluster.client.Create(t.Context(), obj); err != nil {
			t.Fatalf("%v for\n%s", err, doc)
		}
		t.Cleanup(func() {
			if err := testCluster.client.Delete(context.Background(), obj); err != nil {
				t.Error(err)
			}
		})
		if obj.GetKind() == "ServiceAccount" {
			account = obj
		}
	}
	if account == nil {
		t.Fatal("the manifests make no ServiceAccount")
	}
	return account
}

func tokenOf(t *testing.T, account *unstructured.Unstructured) string {
	t.Helper()
	clients, err := kubernetes.NewForConfig(testCluster.Config)
	if err != nil {
		t.Fatal(err)
	}
	token, err := clients.CoreV1().ServiceAccounts(account.GetNamespace()).CreateToken(t.Context(), account.GetName(), &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return token.Status.Token
}

// apiTold is a khook with the history that the docs show.
type apiTold struct{ base string }

// storyOfTheDocs lets the Pods of the docs fail in namespace shop: cart is OOM-killed twice and
// recovers after its agent was called, and web crashes and does not get ready again.
func storyOfTheDocs(t *testing.T) apiTold {
	t.Helper()
	ns := newShop(t)
	kagent := kagenttest.New(t, kagenttest.Options{Script: func(m kagenttest.Message) kagenttest.Act {
		if strings.Contains(string(m.Data), `"retryOf"`) {
			return kagenttest.Act{Ask: "May I raise the limit to 64Mi?"}
		}
		return kagenttest.Act{
			Answer: "The memory limit of 24Mi is below what the cache needs: raise it to 64Mi.",
			Usage:  map[string]any{"totalTokenCount": 2105, "promptTokenCount": 1950, "candidatesTokenCount": 155},
		}
	}})
	memory := applyHook(t, ns, "memory", incident.OOMKill, incident.PodRestart)
	memory.Spec.EventConfigurations[1].VerifyWindow = &metav1.Duration{Duration: time.Hour} // the outcome of web is open
	if err := testCluster.client.Update(t.Context(), memory); err != nil {
		t.Fatal(err)
	}
	khook := controller(t, append(settings(kagent, t.TempDir()), "--api-pprof")...).ready()
	cart := newPod(t, ns, "cart", "cart-7d4b9c-x2x9k")
	becomes(t, cart, 1, "OOMKilled")
	becomes(t, cart, 2, "OOMKilled")
	web := newPod(t, ns, "web", "web-5c8d6f-q7m4z")
	setStatus(web, 1, "Error")
	web.Status.ContainerStatuses[0].Ready = false
	if err := testCluster.client.Status().Update(t.Context(), web); err != nil {
		t.Fatal(err)
	}
	history := openHistory(t, historyOf(khook))
	defer history.Close()
	eventually(t, "both calls are over, cart has recovered, and web fails", func() error {
		all, err := history.AllDeliveries(t.Context(), 100)
		if err != nil {
			return err
		}
		var now []string
		for _, d := range all {
			if d.Hook.Namespace != ns {
				continue
			}
			now = append(now, fmt.Sprintf("%s %s %s", d.Group, d.State, d.Outcome))
		}
		slices.Sort(now)
		if got := strings.Join(now, ", "); got != "Deployment/cart succeeded recovered, Deployment/web succeeded " {
			return errors.New(got)
		}
		return nil
	})
	eventually(t, "the Hook's status tells that, and khook is healthy", func() error {
		_, health := get(t, "http://"+khook.api+api.Base+"/health")
		if now := hookNow(t, memory); now.Status.Active != 1 || ready(now) != "True HookConfigured" || !strings.Contains(health, `"status":"healthy"`) {
			return fmt.Errorf("%d active, ready %q; %s", now.Status.Active, ready(now), health)
		}
		return nil
	})
	return apiTold{"http://" + khook.api}
}

// awaitQuestion waits until an agent asks a person; if none is going to, a call is made again whose
// agent does.
func awaitQuestion(c caller) {
	c.t.Helper()
	newest := func() api.Delivery {
		return read[api.Page[api.Delivery]](c, "/deliveries?namespace=shop&eventType=oom-kill&limit=1").Items[0]
	}
	eventually(c.t, "an agent asks", func() error {
		d := newest()
		if d.State.Ended() {
			c.post("/deliveries/"+d.ID+"/retry", "", http.StatusCreated)
		}
		if d.State != delivery.InputRequired || d.Replies > 0 { // else it is on its way to go on
			return fmt.Errorf("the newest delivery is %s", d.State)
		}
		return nil
	})
}

// historyOf is the file that a khook keeps its history in.
func historyOf(p *process) string {
	return p.cmd.Args[slices.Index(p.cmd.Args, "--database")+1]
}

// newShop is the namespace of the docs, without the Hooks and Pods of a former run.
func newShop(t *testing.T) string {
	t.Helper()
	const name = "shop"
	err := testCluster.client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, obj := range []client.Object{&v1alpha2.Hook{}, &corev1.Pod{}} {
			if err := testCluster.client.DeleteAllOf(context.Background(), obj, client.InNamespace(name), client.GracePeriodSeconds(0)); err != nil {
				t.Error(err)
			}
		}
	})
	return name
}

// run runs the example's commands.
func (e *example) run(t *testing.T, base, token string) (stdout string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-e", "-u", "-o", "pipefail", "-c", e.script)
	cmd.Dir, cmd.Env = t.TempDir(), append(os.Environ(), "KHOOK_SERVER="+base, "KHOOK_TOKEN="+token)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err = cmd.Run(); err != nil {
		err = fmt.Errorf("%w: %s%s", err, errs.String(), out.String())
	}
	return out.String(), err
}

// works checks that the example answers as the docs show.
func (e *example) works(t *testing.T, base, token string) {
	t.Helper()
	got, err := e.run(t, base, token)
	if err != nil {
		t.Fatalf("%v\n%s", err, e.script)
	}
	t.Logf("%s%s", e.script, tail(got, 6000))
	switch e.lang {
	case "json":
		var want, have any
		if err := json.Unmarshal([]byte(e.answer), &want); err != nil {
			t.Fatalf("the answer shown is no JSON: %v", err)
		}
		if err := json.Unmarshal([]byte(got), &have); err != nil {
			t.Fatalf("the answer is no JSON: %v in %s", err, got)
		}
		if err := has(want, have); err != nil {
			t.Errorf("the answer is not as shown: %v\n%s", err, got)
		}
	case "yaml", "text":
		lines := strings.Split(strings.ReplaceAll(got, "\r", ""), "\n")
		for line := range strings.Lines(e.answer) {
			if line = strings.TrimSpace(line); !slices.ContainsFunc(lines, func(l string) bool { return strings.TrimSpace(l) == line }) {
				t.Errorf("the answer has no line %q:\n%s", line, got)
			}
		}
	}
}

// failsAloud checks that the example ends with an error when the API refuses it. Those that ask
// without a token, of the health, and the one that shows an error, can't.
func (e *example) failsAloud(t *testing.T, base string) {
	t.Helper()
	if !strings.Contains(e.script, "$TOKEN") || strings.Contains(e.script, "/api/v1/health") || strings.Contains(e.answer, `"title"`) {
		return
	}
	if out, err := e.run(t, base, "wrong"); err == nil {
		t.Errorf("with a wrong token it ends as if all was well; let curl fail with -f:\n%s%s", e.script, out)
	}
}

// has says which field that is shown an answer does not have. Lists are like those shown if an
// element is like each that is shown.
func has(want, got any) error {
	switch want := want.(type) {
	case map[string]any:
		fields, ok := got.(map[string]any)
		if !ok {
			return fmt.Errorf("%v is no object", got)
		}
		for name, w := range want {
			g, ok := fields[name]
			if !ok {
				return fmt.Errorf("there is no %s", name)
			}
			if err := has(w, g); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	case []any:
		list, ok := got.([]any)
		if !ok {
			return fmt.Errorf("%v is no list", got)
		}
		for _, w := range want {
			err := errors.New("is empty")
			for _, g := range list {
				if err = has(w, g); err == nil {
					break
				}
			}
			if err != nil {
				return err
			}
		}
	case string:
		if g, ok := got.(string); !ok || fixed(want) && g != want {
			return fmt.Errorf("%v, not %q", got, want)
		}
	default:
		if fmt.Sprintf("%T", want) != fmt.Sprintf("%T", got) {
			return fmt.Errorf("%v, not like %v", got, want)
		}
	}
	return nil
}

// changing are texts that are others at each run: times, IDs, cursors and versions.
var changing = regexp.MustCompile(`^\d{4}-\d\d-\d\dT|^[0-9a-f]{8}-[0-9a-f]{4}-|^eyJ|^v\d|^khook-[0-9a-f]+-`)

func fixed(text string) bool { return !changing.MatchString(text) }

// showsAllRoutes checks that no route of the OpenAPI document is left out.
func (p *docsPage) showsAllRoutes(t *testing.T, c caller) {
	t.Helper()
	doc := read[struct {
		Paths map[string]map[string]struct{ OperationID string }
	}](c, "/openapi.json")
	if len(doc.Paths) == 0 {
		t.Fatal("the document has no routes")
	}
	for path, operations := range doc.Paths {
		for method, op := range operations {
			if !slices.ContainsFunc(p.examples, func(e *example) bool { return e.asks(method, path) }) {
				t.Errorf("docs/api.md has no example for %s %s (%s)", strings.ToUpper(method), path, op.OperationID)
			}
		}
	}
}

var parameter = regexp.MustCompile(`\\\{\w+\\\}`)

// asks says whether the example uses a route.
func (e *example) asks(method, path string) bool {
	pattern := parameter.ReplaceAllString(regexp.QuoteMeta(path), `[^/?"'\s]+`)
	posts := strings.Contains(e.script, "--data") || strings.Contains(e.script, "-X POST")
	return posts == (method == "post") && regexp.MustCompile(`\$KHOOK_SERVER`+pattern+`(["'?\s]|$)`).MatchString(e.script)
}

// TestTheGoSnippetOfTheDocsFollowsAStream runs the program of docs/api.md as a reader would.
func TestTheGoSnippetOfTheDocsFollowsAStream(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "api.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?ms)^```go\n(.*?)^```$").FindSubmatch(text)
	if found == nil {
		t.Fatal("docs/api.md has no program in Go")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.go"), found[1], 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "follow"), filepath.Join(dir, "main.go"))
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	khook := storyOfTheDocs(t)
	var out syncBuffer
	follow := exec.CommandContext(t.Context(), filepath.Join(dir, "follow"))
	follow.Env = append(os.Environ(), "KHOOK_SERVER="+khook.base, "KHOOK_TOKEN="+allReader(t, namespace(t)))
	follow.Stdout = &out
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = follow.Process.Kill(); _ = follow.Wait() })
	eventually(t, "the program prints the events", func() error {
		if !strings.Contains(out.String(), `"eventType":"oom-kill"`) {
			return fmt.Errorf("%s", out.String())
		}
		return nil
	})
}
