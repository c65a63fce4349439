package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// cluster is a running Kubernetes in a folder of its own.
type cluster struct {
	assets     *assets
	node, keep bool
	images     []string // archives that the node gets
	home       *home
	dir        string // data and logs
	kubeconfig string
	token      string       // the administrator's
	server     string       // URL of the API server
	service    net.Listener // of the API server's Service, for Pods
	children   []*child
	died       chan *child // those that ended without being told to
}

// newCluster prepares a cluster's folder, and removes what earlier runs left that were killed.
func newCluster(ctx context.Context, a *assets, o options) (*cluster, error) {
	if o.node && os.Geteuid() != 0 {
		return nil, errors.New("--node needs root: containers, mounts and network namespaces are made")
	}
	if err := adopt(); err != nil {
		return nil, fmt.Errorf("adopt orphaned processes: %w", err)
	}
	sweep()
	dir, err := clusterDir(o)
	if err != nil {
		return nil, err
	}
	h, err := claimFor(ctx, dir, o.node)
	if err != nil {
		return nil, err
	}
	c := &cluster{assets: a, node: o.node, keep: o.keep, images: imagesOf(o), home: h, dir: dir, died: make(chan *child, 16)}
	if err := c.prepareDir(o.dir != ""); err != nil {
		return nil, errors.Join(err, h.leave(true))
	}
	return c, nil
}

// imagesOf are the archives of images, wherever COMMAND runs.
func imagesOf(o options) []string {
	found := slices.Clone(o.images)
	for i, name := range found {
		if !filepath.IsAbs(name) {
			found[i] = filepath.Join(o.cwd, name)
		}
	}
	return found
}

// claimFor claims the home of a cluster with this folder, which is the same one but for a node.
func claimFor(ctx context.Context, dir string, node bool) (*home, error) {
	if !node {
		if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
			return nil, err
		}
		return claim(ctx, dir)
	}
	if os.Getenv(marker) != "" { // to wait for the run that this one is a part of would be for ever
		held, err := tryLock(filepath.Join(nodeHome, lockName), 0)
		if errors.Is(err, errLocked) {
			return nil, errors.New("this is the command of a run that has the node already: use --existing-ok")
		}
		if err == nil {
			held.Close()
		}
	}
	return claim(ctx, nodeHome)
}

// clusterDir is the folder that was asked for, or a new one. A node's is always the same.
func clusterDir(o options) (string, error) {
	switch {
	case o.dir == "" && o.node:
		return nodeHome, nil
	case o.dir == "":
		return filepath.Abs(filepath.Join(os.TempDir(), tempPrefix+strings.ToLower(rand.Text()[:10])))
	case filepath.IsAbs(o.dir):
		return filepath.Clean(o.dir), nil
	default:
		return filepath.Abs(filepath.Join(o.cwd, o.dir))
	}
}

// prepareDir makes the folder; one that the user names may have nothing in it.
func (c *cluster) prepareDir(named bool) error {
	if err := c.home.makeDir(c.dir); err != nil {
		return err
	}
	found, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	found = slices.DeleteFunc(found, func(f os.DirEntry) bool { return f.Name() == lockName || f.Name() == recordName })
	if named && len(found) > 0 {
		return fmt.Errorf("%s is not empty (%s, ...): name a new folder", c.dir, found[0].Name())
	}
	// From here on, what is in the folder is the cluster's.
	return errors.Join(c.home.note(entry{Dir: c.dir}), empty(c.dir))
}

// What a command finds beside the host's address: the folder of the node's static Pods, and the file of the kubelet's settings,
// which is in the kubelet's own command line.
const (
	staticPods         = "staticpods"
	staticPodsVariable = "KHOOK_E2E_STATIC_PODS"
	kubeletVariable    = "KHOOK_E2E_KUBELET_CONFIG"
)

// environ is the environment of a command that is to use the cluster.
func (c *cluster) environ() []string {
	env := append(os.Environ(), "KUBECONFIG="+c.kubeconfig, "KUBEBUILDER_ASSETS="+c.assets.dir, marker+"="+c.dir)
	if c.node {
		env = append(env, hostVariable+"="+hostAddress, staticPodsVariable+"="+c.in(staticPods), kubeletVariable+"="+c.in("kubelet.json"))
	}
	return env
}

// start brings everything up and waits until it answers.
func (c *cluster) start(ctx context.Context) error {
	// A free port can be taken by another process before ours listens on it.
	for attempt := 1; ; attempt++ {
		err := c.startControlPlane(ctx)
		if err == nil {
			break
		}
		if attempt == 3 || !strings.Contains(err.Error(), "address already in use") {
			return err
		}
		say("a port was taken by another process: starting again")
		c.endChildren()
		c.died = make(chan *child, 16)
		if err := empty(c.dir); err != nil {
			return err
		}
	}
	if !c.node {
		return nil
	}
	return c.startNode(ctx)
}

// wait is until a signal comes, which is success, or a part of the cluster ends.
func (c *cluster) wait(s *signals) (int, error) {
	say("ready; Ctrl-C ends it. In another terminal:")
	fmt.Printf("export KUBECONFIG=%s PATH=%s:$PATH\n", c.kubeconfig, c.assets.dir)
	select {
	case <-s.ctx.Done():
		return 0, nil
	case ch := <-c.died:
		return 1, ch.ended()
	}
}

// close ends all processes and removes all that was made.
func (c *cluster) close() error {
	err := c.stopAPI()
	c.endChildren()
	if c.keep {
		say("data and logs are in %s", c.dir)
	}
	return errors.Join(err, c.home.leave(c.keep))
}

// endChildren ends the last started first: nobody shall miss the API server.
func (c *cluster) endChildren() {
	for _, ch := range slices.Backward(c.children) {
		ch.end(10 * time.Second)
	}
	c.children = nil
}
