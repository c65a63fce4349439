// Package checkup looks at a cluster, and at a khook in it, and says of each part that it is well or what to do.
//
// It only reads, with the rights of whoever asks, and claims nothing that it has not looked at: what could not be looked at is
// a finding of its own, with the reason.
package checkup

import (
	"context"
	"fmt"
	"time"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kagent-dev/khook/internal/api/client"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/skew"
)

// Result is what came of looking at one part.
type Result string

// The results.
const (
	OK          Result = "ok"
	Warning     Result = "warning"       // it works, and somebody should know something of it
	Failed      Result = "failed"        // it does not work: the text says what to do
	NotLookedAt Result = "not-looked-at" // the text says why
)

// Finding is what is said of one part.
type Finding struct {
	Check  string `json:"check"` // such as clock or crd
	Result Result `json:"result"`
	Text   string `json:"text"`
}

// Options say what is looked at.
type Options struct {
	Cluster   *rest.Config // of whoever asks
	Namespace string       // of khook's Service and Deployment
	Name      string       // of both
	Elsewhere bool         // khook was named by its URL, so that it need not run in the cluster
	Version   string       // of this program
	Timeout   time.Duration
	Connect   func(context.Context) (*client.Client, error) // to khook's HTTP API; the client is closed by who called it
}

// maxText bounds the text of one finding, in bytes.
const maxText = 2048

// maxNamed bounds how many findings of one kind are told one by one.
const maxNamed = 20

// checkup is one look at a cluster.
type checkup struct {
	Options
	kube     *kubernetes.Clientset
	crds     *apiextensions.Clientset
	objects  *dynamic.DynamicClient
	skew     *skew.Meter
	findings []Finding
}

// BeforeInstall says whether khook can be installed: what the cluster is, and what who asks may do.
func BeforeInstall(ctx context.Context, o Options) ([]Finding, error) {
	return look(ctx, o, []step{
		{"rights", (*checkup).installRights}, {"namespace", (*checkup).namespace}, {"storage", (*checkup).storage}, {"crd", (*checkup).crdBefore},
	})
}

// Installed says how a khook does that was installed.
func Installed(ctx context.Context, o Options) ([]Finding, error) {
	return look(ctx, o, []step{
		{"crd", (*checkup).crd}, {"deployment", (*checkup).deployment}, {"api", (*checkup).running}, {"hooks", (*checkup).hooks},
	})
}

// step looks at something, and says what it found.
type step struct {
	check string
	look  func(*checkup, context.Context)
}

func look(ctx context.Context, o Options, steps []step) ([]Finding, error) {
	c := &checkup{Options: o, skew: &skew.Meter{}}
	cfg := rest.CopyConfig(o.Cluster)
	cfg.QPS, cfg.Burst, cfg.Timeout = 50, 100, o.Timeout
	cfg.Wrap(c.skew.Wrap)
	var err error
	if c.kube, err = kubernetes.NewForConfig(cfg); err != nil {
		return nil, err
	}
	if c.crds, err = apiextensions.NewForConfig(cfg); err != nil {
		return nil, err
	}
	if c.objects, err = dynamic.NewForConfig(cfg); err != nil {
		return nil, err
	}
	if !c.apiServer(ctx) {
		for _, s := range steps {
			c.unseen(s.check, "the API server does not answer")
		}
		return c.findings, nil
	}
	c.clock("this machine's", "ages are wrong, and tokens may be refused", ahead(c.skew.Ahead()))
	for _, s := range steps {
		s.look(c, ctx)
	}
	return c.findings, nil
}

func (c *checkup) add(check string, r Result, format string, args ...any) {
	c.findings = append(c.findings, Finding{check, r, incident.Clean(fmt.Sprintf(format, args...), maxText)})
}

func (c *checkup) ok(check, format string, args ...any)   { c.add(check, OK, format, args...) }
func (c *checkup) fail(check, format string, args ...any) { c.add(check, Failed, format, args...) }
func (c *checkup) warn(check, format string, args ...any) { c.add(check, Warning, format, args...) }

// unseen says that something was not looked at, and why.
func (c *checkup) unseen(check, because string, args ...any) {
	c.add(check, NotLookedAt, "not looked at, because "+because, args...)
}

// unread says that something could not be read: that says nothing of how it is.
func (c *checkup) unread(check string, err error) {
	if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
		c.unseen(check, "the API server refuses it: %v", err)
		return
	}
	c.unseen(check, "the API server answers: %v", err)
}
