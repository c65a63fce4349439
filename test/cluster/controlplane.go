package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"
)

// in is a path in the cluster's folder.
func (c *cluster) in(name ...string) string {
	return filepath.Join(append([]string{c.dir}, name...)...)
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
	if err := c.writeKubeconfig(); err != nil {
		return err
	}
	if err := c.startEtcd(ctx, etcd, ports[1]); err != nil {
		return err
	}
	if err := c.startAPIServer(ctx, etcd, ports[2]); err != nil {
		return err
	}
	if !c.node {
		return nil // without a node, a test plays the parts of these two itself
	}
	if err := c.startController(ctx, "kube-scheduler", ports[3]); err != nil {
		return err
	}
	return c.startController(ctx, "kube-controller-manager", ports[4],
		"--service-account-private-key-file", c.in("sa.key"), "--root-ca-file", c.in("kube-apiserver", "apiserver.crt"))
}

func (c *cluster) startEtcd(ctx context.Context, url string, peerPort int) error {
	if err := c.run("etcd", "--data-dir", c.in("etcd"), "--listen-client-urls", url, "--advertise-client-urls", url,
		"--listen-peer-urls", fmt.Sprintf("http://127.0.0.1:%d", peerPort), "--unsafe-no-fsync"); err != nil {
		return err
	}
	return c.await(ctx, "etcd", 30*time.Second, func(ctx context.Context) error {
		return get(ctx, "", url+"/health", "", nil)
	})
}

func (c *cluster) startAPIServer(ctx context.Context, etcd string, port int) error {
	args := []string{"--etcd-servers", etcd, "--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1",
		"--secure-port", fmt.Sprint(port), "--cert-dir", c.in("kube-apiserver"), "--token-auth-file", c.in("tokens.csv"),
		"--authorization-mode", "RBAC", "--service-cluster-ip-range", serviceRange,
		"--service-account-key-file", c.in("sa.key"), "--service-account-signing-key-file", c.in("sa.key"),
		"--service-account-issuer", "https://kubernetes.default.svc.cluster.local", "--endpoint-reconciler-type", "none"}
	if !c.node { // nobody makes service accounts
		args = append(args, "--disable-admission-plugins", "ServiceAccount")
	}
	if err := c.run("kube-apiserver", args...); err != nil {
		return err
	}
	return c.await(ctx, "kube-apiserver", 2*time.Minute, func(ctx context.Context) error {
		if err := c.get(ctx, "/readyz", nil); err != nil {
			return err
		}
		return c.get(ctx, "/api/v1/namespaces/default", nil)
	})
}

// startController starts the scheduler or the controller manager.
func (c *cluster) startController(ctx context.Context, name string, port int, more ...string) error {
	args := append([]string{"--kubeconfig", c.kubeconfig, "--leader-elect=false", "--bind-address", "127.0.0.1",
		"--secure-port", fmt.Sprint(port), "--cert-dir", c.in(name)}, more...)
	if err := c.run(name, args...); err != nil {
		return err
	}
	return c.await(ctx, name, time.Minute, func(ctx context.Context) error {
		return get(ctx, c.in(name, name+".crt"), fmt.Sprintf("https://127.0.0.1:%d/healthz", port), "", nil)
	})
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
		os.WriteFile(c.in("sa.key"), text, 0o600),
		os.WriteFile(c.in("tokens.csv"), []byte(c.token+",admin,admin,system:masters\n"), 0o600),
	)
}

// writeKubeconfig names the certificate that the API server makes for itself at its start.
func (c *cluster) writeKubeconfig() error {
	c.kubeconfig = c.in("kubeconfig")
	return os.WriteFile(c.kubeconfig, fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: khook
contexts: [{name: khook, context: {cluster: khook, user: admin}}]
clusters: [{name: khook, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: admin, user: {token: %s}}]
`, c.server, c.in("kube-apiserver", "apiserver.crt"), c.token), 0o600)
}

// freePorts finds ports of the loopback that nobody listens on.
func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // returns at once
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
