package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// cluster is a running Kubernetes in a folder of its own.
type cluster struct {
	assets     *assets
	node       bool
	dir        string
	kubeconfig string
	token      string
	server     string // URL of the API server
	children   []*child
	state      *state
	containers *node
}

// child is a process of the cluster.
type child struct {
	name string
	cmd  *exec.Cmd
	done chan struct{}
	log  string
}

// The folder of a cluster with a node is always the same: there can be one on a machine, and what
// a killed run left in it is found again.
const nodeDir = "/var/lib/khook-test-node"

func newCluster(a *assets, node bool) (*cluster, error) {
	if !node {
		dir, err := os.MkdirTemp("", "khook-cluster-")
		return &cluster{assets: a, dir: dir, state: &state{}}, err
	}
	if os.Getuid() != 0 {
		return nil, errors.New("--node needs root: containers, mounts and network namespaces are made")
	}
	if err := cleanUp(nodeDir); err != nil {
		return nil, fmt.Errorf("clean up after an earlier run: %w", err)
	}
	if err := os.MkdirAll(nodeDir, 0o711); err != nil {
		return nil, err
	}
	c := &cluster{assets: a, node: true, dir: nodeDir, state: &state{path: filepath.Join(nodeDir, "state.json")}}
	unlock, err := lock(nodeDir)
	if err != nil {
		return nil, err
	}
	c.state.unlock = unlock
	return c, nil
}

// start brings everything up and waits until it answers.
func (c *cluster) start(ctx context.Context) error {
	if err := c.startControlPlane(ctx); err != nil {
		return err
	}
	if !c.node {
		return nil
	}
	return c.startNode(ctx)
}

func (c *cluster) startControlPlane(ctx context.Context) error {
	ports, err := freePorts(5)
	if err != nil {
		return err
	}
	if err := c.secrets(); err != nil {
		return err
	}
	etcd := fmt.Sprintf("http://127.0.0.1:%d", ports[0])
	c.server = fmt.Sprintf("https://127.0.0.1:%d", ports[2])
	in := func(name string) string { return filepath.Join(c.dir, name) }
	if err := c.spawn("etcd", "--data-dir", in("etcd"), "--listen-client-urls", etcd, "--advertise-client-urls", etcd,
		"--listen-peer-urls", fmt.Sprintf("http://127.0.0.1:%d", ports[1]), "--unsafe-no-fsync"); err != nil {
		return err
	}
	if err := c.await(ctx, "etcd", 30*time.Second, func(ctx context.Context) error { return answers(ctx, http.DefaultClient, etcd+"/health", "") }); err != nil {
		return err
	}
	if err := c.spawn("kube-apiserver", "--etcd-servers", etcd, "--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1",
		"--secure-port", fmt.Sprint(ports[2]), "--cert-dir", in("apiserver"), "--token-auth-file", in("tokens.csv"),
		"--authorization-mode", "RBAC", "--service-cluster-ip-range", "10.96.0.0/16", "--disable-admission-plugins", "ServiceAccount",
		"--service-account-key-file", in("sa.key"), "--service-account-signing-key-file", in("sa.key"),
		"--service-account-issuer", "https://kubernetes.default.svc.cluster.local", "--endpoint-reconciler-type", "none"); err != nil {
		return err
	}
	if err := c.await(ctx, "kube-apiserver", 2*time.Minute, c.apiReady); err != nil {
		return err
	}
	if err := c.writeKubeconfig(); err != nil {
		return err
	}
	if !c.node {
		return nil
	}
	if err := c.spawn("kube-scheduler", "--kubeconfig", c.kubeconfig, "--leader-elect=false", "--bind-address", "127.0.0.1",
		"--secure-port", fmt.Sprint(ports[3]), "--cert-dir", in("scheduler")); err != nil {
		return err
	}
	return c.spawn("kube-controller-manager", "--kubeconfig", c.kubeconfig, "--leader-elect=false", "--bind-address", "127.0.0.1",
		"--secure-port", fmt.Sprint(ports[4]), "--cert-dir", in("controller-manager"),
		"--service-account-private-key-file", in("sa.key"), "--use-service-account-credentials=false")
}

// secrets makes an administrator's token and the key of service accounts.
func (c *cluster) secrets() error {
	raw := make([]byte, 16)
	if _, err := rand.Read(raw); err != nil {
		return err
	}
	c.token = hex.EncodeToString(raw)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	return errors.Join(
		os.WriteFile(filepath.Join(c.dir, "sa.key"), text, 0o600),
		os.WriteFile(filepath.Join(c.dir, "tokens.csv"), []byte(c.token+",admin,admin,system:masters\n"), 0o600),
	)
}

func (c *cluster) writeKubeconfig() error {
	c.kubeconfig = filepath.Join(c.dir, "kubeconfig")
	return os.WriteFile(c.kubeconfig, fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: khook
contexts: [{name: khook, context: {cluster: khook, user: admin}}]
clusters: [{name: khook, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: admin, user: {token: %s}}]
`, c.server, filepath.Join(c.dir, "apiserver", "apiserver.crt"), c.token), 0o600)
}

// client talks to the API server alone.
func (c *cluster) client() (*http.Client, error) {
	ca, err := os.ReadFile(filepath.Join(c.dir, "apiserver", "apiserver.crt"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}, nil
}

func (c *cluster) apiReady(ctx context.Context) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	if err := answers(ctx, client, c.server+"/readyz", c.token); err != nil {
		return err
	}
	return answers(ctx, client, c.server+"/api/v1/namespaces/default", c.token)
}

func answers(ctx context.Context, client *http.Client, url, token string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return nil
}

// spawn starts a process of the cluster; its log is in the cluster's folder.
func (c *cluster) spawn(name string, args ...string) error {
	path := c.assets.program[name]
	if path == "" {
		path = name
	}
	logPath := filepath.Join(c.dir, filepath.Base(name)+".log")
	log, err := os.Create(logPath)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, c.dir
	cmd.SysProcAttr = dieWithParent()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	ch := &child{name: filepath.Base(name), cmd: cmd, done: make(chan struct{}), log: logPath}
	go func() {
		_ = cmd.Wait()
		close(ch.done)
	}()
	c.children = append(c.children, ch)
	return c.state.add(cmd.Process.Pid)
}

// await repeats a check until it passes, a process ends, or time is up.
func (c *cluster) await(ctx context.Context, what string, limit time.Duration, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		for _, ch := range c.children {
			select {
			case <-ch.done:
				return fmt.Errorf("%s ended (%s):\n%s", ch.name, ch.cmd.ProcessState, tail(ch.log))
			default:
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", what, errors.Join(ctx.Err(), err))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// tail is the end of a log.
func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4000):])
}

// close ends all processes, the last started first, and removes all that was made.
func (c *cluster) close() error {
	var errs []error
	if c.containers != nil {
		errs = append(errs, c.containers.stop())
	}
	for _, ch := range slices.Backward(c.children) {
		ch.end(10 * time.Second)
	}
	if c.state.unlock != nil {
		c.state.unlock()
	}
	if c.node {
		return errors.Join(append(errs, cleanUp(c.dir))...)
	}
	return errors.Join(append(errs, os.RemoveAll(c.dir))...)
}

// end asks the process to end, and kills it if it does not.
func (ch *child) end(grace time.Duration) {
	_ = ch.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-ch.done:
	case <-time.After(grace):
		_ = ch.cmd.Process.Kill()
		<-ch.done
	}
}

// freePorts finds ports of the loopback that nobody listens on.
func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		addr, ok := l.Addr().(*net.TCPAddr)
		if !ok {
			return nil, fmt.Errorf("listener at %s is no TCP listener", l.Addr())
		}
		ports[i] = addr.Port
	}
	return ports, nil
}
