package checkup

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/api/client"
)

// partsOfAPI are the checks that go by what khook says of itself.
var partsOfAPI = []string{"version", "history", "leader", "watches", "queue", "kagent"}

// onlyTold says who is told more than a word.
const onlyTold = "khook tells it only to those who may list Hooks in all namespaces, or get the nonResourceURL /diagnostics"

// running asks a khook how it does.
func (c *checkup) running(ctx context.Context) {
	conn, err := c.Connect(ctx)
	if errors.Is(err, client.ErrNoToken) && c.word(ctx, err) {
		return
	}
	if err != nil {
		c.silent(err)
		return
	}
	defer conn.Close()
	raw, err := conn.Health(ctx)
	var h api.Health
	if err == nil {
		err = decode(raw, &h)
	}
	if err != nil {
		c.silent(err)
		return
	}
	c.health(&h)
	c.khookClock(ahead(conn.ClockAhead()))
	if h.Version == "" {
		c.byImage(ctx)
		c.unseenParts(partsOfAPI[1:], onlyTold)
		c.accountRights(ctx, nil)
		return
	}
	c.version(h.Version, "")
	c.parts(ctx, conn, &h)
}

// word asks for what khook says of itself to everybody, through the API server's proxy, which takes no token of khook's; false if
// that is not to be had.
func (c *checkup) word(ctx context.Context, noToken error) bool {
	var h api.Health
	if c.Timeout > 0 { // the client would say it to khook as a parameter
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.Timeout)
		defer cancel()
	}
	for _, scheme := range []string{"", "https"} {
		raw, err := c.kube.CoreV1().RESTClient().Get().Timeout(0).Namespace(c.Namespace).Resource("services").SubResource("proxy").
			Name(utilnet.JoinSchemeNamePort(scheme, c.Name, "api")).Suffix(api.Base + "/health").DoRaw(ctx)
		if decode(raw, &h) == nil && (h.Status == api.Healthy || h.Status == api.Degraded || h.Status == api.Unhealthy) {
			c.health(&h) // what is unhealthy answers with an error
			c.byImage(ctx)
			c.unseenParts(partsOfAPI[1:], noToken.Error())
			c.accountRights(ctx, nil)
			return true
		}
		if apierrors.IsForbidden(err) {
			break
		}
	}
	return false
}

// silent says that khook does not answer. Who has no token, or lacks a right on the way, has not seen how khook is.
func (c *checkup) silent(err error) {
	switch {
	case errors.Is(err, client.ErrNoToken):
		c.unseen("api", "%v", err)
	case apierrors.IsForbidden(err) || strings.Contains(err.Error(), "is forbidden"): // the latter of a port that is forwarded
		c.unseen("api", "the API server refuses it: %v", err)
	default:
		c.fail("api", "khook's HTTP API was not reached: %v", err)
	}
	c.unseenParts(partsOfAPI, "khook was not reached")
}

func (c *checkup) unseenParts(parts []string, because string) {
	for _, part := range parts {
		c.unseen(part, "%s", because)
	}
}

// health says what khook says of itself in a word.
func (c *checkup) health(h *api.Health) {
	switch h.Status {
	case api.Healthy:
		c.ok("api", "khook answers, and says that it is healthy")
	case api.Degraded, api.Unhealthy:
		why := strings.Join(h.Reasons, "; ")
		if why == "" {
			why = "khook health says why to those who may know"
		}
		c.fail("api", "khook says that it is %s: %s", h.Status, why)
	default:
		c.unseen("api", "khook's answer is not understood: is it another version?")
	}
	for _, warning := range h.Warnings {
		c.warn("api", "%s", warning)
	}
}

// byImage compares the versions where khook does not tell its own.
func (c *checkup) byImage(ctx context.Context) {
	_, tag, err := c.account(ctx)
	switch {
	case err != nil || tag == "":
		c.unseen("version", onlyTold)
	default:
		c.version(tag, ", by the tag of its image")
	}
}

// version compares khook's version with that of this program.
func (c *checkup) version(found, by string) {
	switch {
	case c.Version == "" || c.Version == "(devel)":
		c.unseen("version", "this program has none to compare with; khook's is %s%s", found, by)
	case strings.TrimPrefix(found, "v") != strings.TrimPrefix(c.Version, "v"):
		c.fail("version", "khook is %s%s, and this program is %s: take the program of khook's version, or upgrade khook", found, by, c.Version)
	default:
		c.ok("version", "khook and this program are %s%s", found, by)
	}
}

// parts goes through khook's parts.
func (c *checkup) parts(ctx context.Context, conn *client.Client, h *api.Health) {
	if h.Store.Status == api.Healthy {
		c.ok("history", "it can be read and written")
	} else {
		c.fail("history", "%s", h.Store.Reason)
	}
	diagnostics, _, err := client.Fetch[api.Diagnostics](ctx, conn, "/diagnostics", nil)
	c.leader(ctx, h, diagnostics.Settings)
	c.watches(h)
	c.queue(h, diagnostics.Queues, err)
	c.kagent(ctx, conn, h, diagnostics.Settings)
	if err != nil {
		c.unseen("rights", "which namespaces khook watches is not known: %v", err)
		return
	}
	c.accountRights(ctx, diagnostics.Settings)
}

// leader says whether somebody watches and calls.
func (c *checkup) leader(ctx context.Context, h *api.Health, settings map[string]any) {
	switch h.Pipeline.State {
	case "leading":
		c.ok("leader", "the replica that answers watches and calls")
		return
	case "starting":
		c.fail("leader", "the replica that answers leads, and has not read the first lists yet: check again in a minute; if it stays so, the watches say why")
		return
	}
	name, ns := "khook.kagent.dev", c.Namespace
	if id, _ := settings["leader-election-id"].(string); id != "" {
		name = id
	}
	if in, _ := settings["leader-election-namespace"].(string); in != "" {
		ns = in
	}
	lease, err := c.kube.CoordinationV1().Leases(ns).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err) || err == nil && (lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == ""):
		c.fail("leader", "nobody watches and calls: the replica that answers stands by, and nobody holds the Lease %s/%s; khook's log says why it can't be taken", ns, name)
	case err != nil:
		c.unread("leader", err)
	case lease.Spec.RenewTime == nil || lease.Spec.LeaseDurationSeconds == nil ||
		time.Since(lease.Spec.RenewTime.Time) > 2*time.Duration(*lease.Spec.LeaseDurationSeconds)*time.Second+maxSkew:
		c.fail("leader", "nobody watches and calls: the replica that answers stands by, and %s, which holds the Lease %s/%s, does not renew it", *lease.Spec.HolderIdentity, ns, name)
	default:
		c.ok("leader", "%s watches and calls; the replica that answers stands by", *lease.Spec.HolderIdentity)
	}
}

// watches says whether khook sees the cluster.
func (c *checkup) watches(h *api.Health) {
	if len(h.Plugins) == 0 {
		c.unseen("watches", "only the leader watches, and the replica that answers is none")
		return
	}
	up := 0
	for _, p := range h.Plugins {
		in := "all namespaces"
		if p.Namespace != "" {
			in = "namespace " + p.Namespace
		}
		if p.State == "up" {
			up++
			continue
		}
		c.fail("watches", "%s of %s is %s: %s", p.Name, in, p.State, p.Error)
	}
	if up == len(h.Plugins) {
		c.ok("watches", "%d of %d are up", up, up)
	}
}

// queue says whether work waits for too long.
func (c *checkup) queue(h *api.Health, queues []api.Queue, err error) {
	var waits []string
	for _, q := range queues {
		waits = append(waits, fmt.Sprintf("%s: %d", q.Name, q.Depth))
	}
	switch {
	case h.Pipeline.Status != api.Healthy:
		c.fail("queue", "%s", h.Pipeline.Reason)
	case err != nil:
		c.unseen("queue", "%v", err)
	case len(waits) == 0:
		c.unseen("queue", "khook tells of none")
	default:
		c.ok("queue", "%s", strings.Join(waits, ", "))
	}
}

// kagent says whether khook reaches kagent, and how it speaks with it as far as khook knows.
func (c *checkup) kagent(ctx context.Context, conn *client.Client, h *api.Health, settings map[string]any) {
	at, _ := settings["kagent-url"].(string)
	switch {
	case h.Kagent.CheckedAt.IsZero():
		c.unseen("kagent", "khook has not asked it yet")
	case h.Kagent.Status != api.Healthy:
		c.fail("kagent", "%s (kagent.apiUrl is %s)", h.Kagent.Reason, at)
	default:
		c.ok("kagent", "khook reached %s %s ago; %s", at, time.Since(h.Kagent.CheckedAt).Round(time.Second), dialect(ctx, conn, settings))
	}
}

// newestCalls bounds how many deliveries are looked at for the dialect.
const newestCalls = 20

// dialect is in which dialect khook speaks with kagent: as set, or as the newest call went. khook finds it out per agent.
func dialect(ctx context.Context, conn *client.Client, settings map[string]any) string {
	if set, _ := settings["kagent-dialect"].(string); set != "" {
		return "its dialect is set to " + set
	}
	newest, _, err := client.Fetch[api.Page[api.Delivery]](ctx, conn, "/deliveries", url.Values{"limit": {fmt.Sprint(newestCalls)}})
	if err != nil {
		return "its dialect was not looked at: " + err.Error()
	}
	for i := range newest.Items {
		if d := newest.Items[i].Dialect; d != "" {
			return "the newest call went in the dialect " + d
		}
	}
	return "its dialect shows with the first call"
}

// accountRights looks at the rights of khook's ServiceAccount, in the namespaces that khook says it watches.
func (c *checkup) accountRights(ctx context.Context, settings map[string]any) {
	if settings == nil {
		c.unseen("rights", "which namespaces khook watches is not known: "+onlyTold)
		return
	}
	account, _, err := c.account(ctx)
	switch {
	case apierrors.IsNotFound(err):
		c.unseen("rights", "there is no Deployment %s in namespace %s that would name khook's ServiceAccount", c.Name, c.Namespace)
		return
	case err != nil:
		c.unread("rights", err)
		return
	}
	namespaces, err := texts(settings["namespaces"])
	if err != nil {
		c.unseen("rights", "which namespaces khook watches is not understood: %v", err)
		return
	}
	c.granted(ctx, account, namespaces, settings["api-auth"] == "kubernetes")
}

var errNoTexts = errors.New("it is no list of names")

// texts are the texts of a list that came as JSON.
func texts(v any) (found []string, err error) {
	list, ok := v.([]any)
	if !ok && v != nil {
		return nil, errNoTexts
	}
	for _, item := range list {
		text, ok := item.(string)
		if !ok {
			return nil, errNoTexts
		}
		found = append(found, text)
	}
	slices.Sort(found)
	return found, nil
}
