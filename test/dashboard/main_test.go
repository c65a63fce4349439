// Package dashboard tests the dashboard in a real browser, on a real khook with a real API server and a sample agent.
//
// It asserts what a person sees and can do; what single parts of the page compute is tested in the folder web.
package dashboard

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/cli"
	"github.com/kagent-dev/khook/internal/kubetest"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

// asKhook makes the test binary be khook.
const asKhook = "KHOOK_TEST_BE_KHOOK"

// testCluster is the cluster that all tests of this package share.
var testCluster struct {
	*kubetest.Env
	client     client.Client
	kubeconfig string
}

func TestMain(m *testing.M) {
	if os.Getenv(asKhook) != "" {
		os.Exit(cli.Main(context.Background(), os.Args[1:], cli.Env{Out: os.Stdout, Err: os.Stderr, Version: "test"}))
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
	return pgtest.Tests(m).Run()
}

func startCluster() (stop func(), err error) {
	stop = func() {}
	if testCluster.Env, err = kubetest.Start(filepath.Join("..", "..", "config", "crd")); err != nil {
		return stop, err
	}
	dir, err := os.MkdirTemp("", "khook-dashboard-")
	stop = func() { testCluster.Stop(); os.RemoveAll(dir) }
	if err != nil {
		return stop, err
	}
	testCluster.kubeconfig = filepath.Join(dir, "kubeconfig")
	scheme := runtime.NewScheme()
	if err := errors.Join(os.WriteFile(testCluster.kubeconfig, testCluster.KubeConfig, 0o600), clientgoscheme.AddToScheme(scheme), v1alpha2.AddToScheme(scheme)); err != nil {
		return stop, err
	}
	if testCluster.client, err = client.New(testCluster.Config, client.Options{Scheme: scheme}); err != nil {
		return stop, err
	}
	return stop, testCluster.client.Create(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kagent"}})
}

// khook is a running controller.
type khook struct {
	url  string
	args []string
	cmd  *exec.Cmd
	done chan struct{}
}

// startKhook starts khook controller as a process of its own, and kills it at the test's end.
func startKhook(t testing.TB, args ...string) *khook {
	t.Helper()
	address := freeAddress(t)
	k := &khook{url: "http://" + address, args: append([]string{
		"controller", "--kubeconfig", testCluster.kubeconfig, "--health-probe-bind-address", "0", "--metrics-bind-address", "0", "--api-bind-address", address,
		"--no-leader-elect", "--agent-check-every", "1s", "--api-rate-limit", "1000", "--api-rate-burst", "2000",
	}, args...)}
	k.start(t)
	t.Cleanup(k.kill)
	return k
}

// start runs it, and waits until it answers.
func (k *khook) start(t testing.TB) {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "khook.log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		log.Close()
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("the end of khook's log:\n%s", text[max(0, len(text)-4000):])
		}
	})
	k.cmd = exec.Command(os.Args[0], k.args...)
	k.cmd.Env = append(os.Environ(), asKhook+"=1")
	k.cmd.Stdout, k.cmd.Stderr = log, log
	if err := k.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done, cmd := make(chan struct{}), k.cmd
	k.done = done
	go func() { _ = cmd.Wait(); close(done) }()
	eventually(t, "khook answers", func() error {
		resp, err := http.Get(k.url + "/api/v1/health")
		if err == nil {
			resp.Body.Close()
		}
		return err
	})
}

func (k *khook) kill() {
	_ = k.cmd.Process.Kill()
	<-k.done
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// eventually waits for a condition; a minute and a half is far more than any needs on a slow machine.
func eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(90 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s: %v", what, err)
		}
	}
}
