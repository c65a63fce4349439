// Package system tests khook as a process: the real command line, killed, halted, deposed, flooded and lied to, against a
// real API server and a kagent for tests.
//
// It must not reach into the process but through its flags, its ports, its history file and app.Faults, and it asserts
// nothing that nobody outside could notice. What one package can show by itself is tested in that package.
package system

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/cli"
	"github.com/kagent-dev/khook/internal/kubetest"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

// asKhook makes the test binary be khook, so that it can be killed and is built with the race
// detector.
const asKhook = "KHOOK_TEST_BE_KHOOK"

// testCluster is the cluster that all tests of this package share; each uses namespaces of its own.
var testCluster struct {
	*kubetest.Env
	client     client.Client
	kubeconfig string // of khook, with exactly the role of config/rbac
	dir        string
}

func TestMain(m *testing.M) {
	if os.Getenv(asKhook) != "" {
		os.Exit(beKhook())
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	stop, err := startCluster()
	defer stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := pgtest.Tests(m).Run()
	if err := tortureReport.write(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func startCluster() (stop func(), err error) {
	stop = func() {}
	if testCluster.Env, err = kubetest.Start(filepath.Join("..", "..", "config", "crd")); err != nil {
		return stop, err
	}
	if testCluster.dir, err = os.MkdirTemp("", "khook-test-"); err != nil {
		return testCluster.Stop, err
	}
	stop = func() {
		testCluster.Stop()
		os.RemoveAll(testCluster.dir)
	}
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return stop, err
	}
	if err := v1alpha2.AddToScheme(scheme); err != nil {
		return stop, err
	}
	if testCluster.client, err = client.New(testCluster.Config, client.Options{Scheme: scheme}); err != nil {
		return stop, err
	}
	return stop, grantKhook()
}

// grantKhook makes a user with the role that is generated for khook, and nothing else.
func grantKhook() error {
	user, err := testCluster.AddUser(envtest.User{Name: "khook"}, nil)
	if err != nil {
		return err
	}
	config, err := user.KubeConfig()
	if err != nil {
		return err
	}
	testCluster.kubeconfig = filepath.Join(testCluster.dir, "kubeconfig")
	if err := os.WriteFile(testCluster.kubeconfig, config, 0o600); err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "config", "rbac", "role.yaml"))
	if err != nil {
		return err
	}
	docs := strings.Split(string(text), "---\n")
	cluster, local := &rbacv1.ClusterRole{}, &rbacv1.Role{}
	for _, doc := range docs {
		var into any
		switch {
		case strings.Contains(doc, "kind: ClusterRole\n"):
			into = cluster
		case strings.Contains(doc, "kind: Role\n"):
			into = local
		default:
			continue
		}
		if err := yaml.UnmarshalStrict([]byte(doc), into); err != nil {
			return err
		}
	}
	subject := []rbacv1.Subject{{Kind: "User", Name: "khook", APIGroup: rbacv1.GroupName}}
	for _, obj := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kagent"}}, cluster, local,
		&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "khook"}, Subjects: subject,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "khook"}},
		&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "khook", Namespace: "kagent"}, Subjects: subject,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "khook"}},
	} {
		if err := testCluster.client.Create(context.Background(), obj); err != nil {
			return err
		}
	}
	return nil
}

// process is a running khook.
type process struct {
	t       testing.TB
	cmd     *exec.Cmd
	log     *syncBuffer
	health  string
	metrics string
	api     string
	done    chan struct{}
}

// controller starts khook controller as a process of its own, and kills it at the test's end.
func controller(t testing.TB, args ...string) *process {
	t.Helper()
	return controllerWith(t, nil, args...)
}

// onEngine replaces the file of a history by the URL of a database, where the tests run on PostgreSQL.
func onEngine(t testing.TB, args []string) []string {
	t.Helper()
	args = slices.Clone(args)
	if i := slices.Index(args, "--database") + 1; i > 0 && pgtest.OnPostgres() && !strings.HasPrefix(args[i], "postgres://") {
		args[i] = pgtest.URL(t, args[i])
	}
	return args
}

// controllerWith is controller with variables beside those of the test's own environment.
func controllerWith(t testing.TB, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, log: &syncBuffer{}, health: freeAddress(t), metrics: freeAddress(t), api: freeAddress(t), done: make(chan struct{})}
	base := []string{
		"controller", "--kubeconfig", testCluster.kubeconfig, "--health-probe-bind-address", p.health, "--metrics-bind-address", p.metrics,
		"--api-bind-address", p.api, "--log-level", "debug", "--agent-check-every", "1s",
	}
	if !slices.Contains(args, "--leader-elect") {
		base = append(base, "--no-leader-elect")
	}
	p.cmd = exec.Command(os.Args[0], append(base, onEngine(t, args)...)...)
	p.cmd.Env = append(append(os.Environ(), asKhook+"=1"), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("log of khook:\n%s", tail(p.log.String(), 12000))
		}
	})
	return p
}

// refused is what the log tells of rights that khook lacks. A list by a watch, which client-go tries first, is
// off in some Kubernetes versions before 1.34 and then refused as "forbidden", too: client-go says so in a line
// for debugging, and lists as before.
func (p *process) refused() string {
	var lines strings.Builder
	for line := range strings.Lines(p.log.String()) {
		off := strings.Contains(line, "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled")
		if strings.Contains(line, "forbidden") && !off {
			lines.WriteString(line)
		}
	}
	return lines.String()
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// kill ends khook as a crash would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// stop ends khook as Kubernetes would, and returns its exit code.
func (p *process) stop() int {
	_ = p.cmd.Process.Signal(os.Interrupt)
	<-p.done
	return p.cmd.ProcessState.ExitCode()
}

// ready waits until khook says that it does its work.
func (p *process) ready() *process {
	p.t.Helper()
	eventually(p.t, "khook is ready", func() error {
		select {
		case <-p.done:
			p.t.Fatalf("khook ended: %s", p.log.String())
		default:
		}
		code, body := get(p.t, "http://"+p.health+"/readyz?verbose")
		if code != http.StatusOK {
			return fmt.Errorf("%d %s", code, body)
		}
		if !strings.Contains(p.scrape(), `khook_watch_up{resource="events"} 1`) {
			return fmt.Errorf("events are not watched yet")
		}
		return nil
	})
	return p
}

func (p *process) scrape() string {
	_, body := get(p.t, "http://"+p.metrics+"/metrics")
	return body
}

func get(t testing.TB, url string) (int, string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body)
}

// eventually waits for a condition; a minute is far more than any needs on a slow machine.
func eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	if err := poll(90*time.Second, 20*time.Millisecond, check); err != nil {
		t.Fatalf("waited in vain until %s: %v", what, err)
	}
}

// poll checks again and again until the limit, and returns the last error.
func poll(limit, pause time.Duration, check func() error) error {
	for deadline := time.Now().Add(limit); ; time.Sleep(pause) {
		if err := check(); err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// nextPort counts the ports that were given away. They are below those that the system gives to
// clients and to who asks for any: so nobody takes one between here and its use.
var nextPort atomic.Int32

func freeAddress(t testing.TB) string {
	for {
		port := 18000 + (int(nextPort.Add(1))+os.Getpid()*7)%12000
		address := fmt.Sprintf("127.0.0.1:%d", port)
		l, err := net.Listen("tcp", address)
		if err == nil {
			l.Close()
			return address
		}
		if t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// runCLI runs a command line in this process.
func runCLI(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = cli.Main(t.Context(), args, cli.Env{Out: &out, Err: &errs, Version: "test"})
	return code, out.String(), errs.String()
}
