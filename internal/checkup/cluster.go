package checkup

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"
)

// The Kubernetes versions that khook is for, as docs/install.md and the chart say.
var (
	oldestKubernetes = version.MajorMinor(1, 28)
	oldestTested     = version.MajorMinor(1, 30)
)

// apiServer says whether the API server answers, and whether khook is for its version.
func (c *checkup) apiServer(ctx context.Context) bool {
	var info struct{ GitVersion string }
	raw, err := c.kube.Discovery().RESTClient().Get().AbsPath("/version").Timeout(c.Timeout).DoRaw(ctx)
	if err == nil {
		err = decode(raw, &info)
	}
	if apierrors.IsForbidden(err) { // it answers, which is what was asked for first
		c.unseen("api-server", "%v", err)
		return true
	}
	if err != nil {
		c.fail("api-server", "%s does not answer: %v; is it the right --context, and is the cluster up?", c.Cluster.Host, err)
		return false
	}
	v, err := version.ParseGeneric(info.GitVersion)
	switch {
	case err != nil:
		c.unseen("api-server", "its version %q can't be read", info.GitVersion)
	case v.LessThan(oldestKubernetes):
		c.fail("api-server", "Kubernetes %s is too old: khook needs %s or newer", info.GitVersion, oldestKubernetes)
	case v.LessThan(oldestTested):
		c.warn("api-server", "Kubernetes %s: khook's tests run on %s and newer only", info.GitVersion, oldestTested)
	default:
		c.ok("api-server", "Kubernetes %s at %s", info.GitVersion, c.Cluster.Host)
	}
	return true
}

// maxSkew is how far clocks may be apart: khook takes a Pod that is older than that when it is made for one of another clock
// (docs/design.md), and a token can be refused as one from the future.
const maxSkew = 10 * time.Second

// offset is how far one clock is ahead of another, and how exact that is; unknown if nobody told.
type offset struct {
	ahead, within time.Duration
	known         bool
}

func ahead(by, within time.Duration, known bool) offset { return offset{by, within, known} }

// clock compares a clock with that of the API server. harm is what it does to be off.
func (c *checkup) clock(whose, harm string, o offset) {
	apart, direction := o.ahead.Abs(), "ahead of"
	if o.ahead < 0 {
		direction = "behind"
	}
	switch {
	case !o.known:
		c.unseen("clock", "the answer has no date")
	case apart > maxSkew+o.within:
		c.fail("clock", "%s clock is %s %s the API server's: let NTP set both; %s", whose, apart.Round(time.Second), direction, harm)
	case o.within > maxSkew:
		c.unseen("clock", "the answer took too long to tell: %s clock can be compared with the API server's to %s only", whose, o.within.Round(10*time.Millisecond))
	default:
		c.ok("clock", "%s clock and the API server's are less than %s apart", whose, (apart+o.within).Truncate(time.Second)+time.Second)
	}
}

// khookClock compares khook's clock with that of the API server, each by this machine's.
func (c *checkup) khookClock(of offset) {
	server := ahead(c.skew.Ahead())
	c.clock("khook's", "khook takes what is old for new, or too early for Pending, and its tokens may be refused: look at the node that it runs on",
		offset{server.ahead - of.ahead, server.within + of.within, server.known && of.known})
}

// namespace says whether the namespace for khook is there.
func (c *checkup) namespace(ctx context.Context) {
	ns, err := c.kube.CoreV1().Namespaces().Get(ctx, c.Namespace, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		may, reviewErr := c.may(ctx, right{verb: "create", resource: "namespaces"})
		switch {
		case reviewErr != nil:
			c.unread("namespace", reviewErr)
		case may:
			c.ok("namespace", "there is no namespace %s yet: helm install --create-namespace makes it", c.Namespace)
		default:
			c.fail("namespace", "there is no namespace %s, and you may not create it: have it created", c.Namespace)
		}
	case err != nil:
		c.unread("namespace", err)
	case ns.Status.Phase == corev1.NamespaceTerminating:
		c.fail("namespace", "namespace %s is being deleted: wait until it is gone, or take another one", c.Namespace)
	default:
		c.ok("namespace", "namespace %s is there", c.Namespace)
	}
}

// defaultClass marks the storage class of claims that name none.
const defaultClass = "storageclass.kubernetes.io/is-default-class"

// storage says whether the claim for the history will be bound.
func (c *checkup) storage(ctx context.Context) {
	classes, err := c.kube.StorageV1().StorageClasses().List(ctx, metav1.ListOptions{})
	if err != nil {
		c.unread("storage", err)
		return
	}
	for i := range classes.Items {
		if class := &classes.Items[i]; class.Annotations[defaultClass] == "true" {
			c.ok("storage", "the history's claim gets the default storage class %s", class.Name)
			return
		}
	}
	c.fail("storage", "there is no default storage class, so the history's claim would stay unbound: set persistence.storageClass or persistence.existingClaim when you install")
}
