package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

// throughCluster forwards a port to a Pod of khook's Service, and takes the token of the kube context.
func (o *Options) throughCluster(ctx context.Context, token string) (*Client, error) {
	cfg, err := o.ClusterConfig()
	if err != nil {
		return nil, err
	}
	if token == "" {
		if token, err = callerToken(ctx, cfg); err != nil {
			return nil, err
		}
	}
	clients, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, err
	}
	if o.Timeout > 0 { // of finding khook; the answer has as long again
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.Timeout)
		defer cancel()
	}
	if o.ViaAPIServer {
		return o.throughProxy(ctx, cfg, clients, token)
	}
	svc, pod, err := o.khookPod(ctx, clients)
	if err != nil {
		return nil, otherWays(err)
	}
	scheme, transport, err := o.tunnel(svc)
	if err != nil {
		return nil, err
	}
	local, stop, err := forward(ctx, cfg, clients, pod, apiPort(svc, pod))
	if err != nil {
		return nil, otherWays(fmt.Errorf("forward a port to Pod %s/%s: %w", pod.Namespace, pod.Name, err))
	}
	c := New(fmt.Sprintf("%s://127.0.0.1:%d", scheme, local), token, transport, o.Timeout)
	c.Close = stop
	return c, nil
}

// otherWays says what else there is for those who may not forward ports.
func otherWays(err error) error {
	if !apierrors.IsForbidden(err) && !strings.Contains(err.Error(), "is forbidden") { // the latter of a stream that is not upgraded
		return err
	}
	return fmt.Errorf("%w\nOther ways to khook: ask for the Role khook-connector; --server URL, where khook has an address; or --via-api-server, for those who may use services/proxy there (docs/cli.md has what that means for the token)", err)
}

// throughProxy asks by way of the API server's proxy for Services, which needs no right to list Pods and to forward ports. The API server
// authenticates by the header Authorization and takes it away: the token for khook is in another one. It checks no certificate of khook's, so
// that who is between it and the Pod may read the token. Nobody gets here who did not say so.
func (o *Options) throughProxy(ctx context.Context, cfg *rest.Config, clients *kubernetes.Clientset, token string) (*Client, error) {
	scheme, port := "", "api"
	switch svc, err := clients.CoreV1().Services(o.KhookNamespace).Get(ctx, o.KhookService, metav1.GetOptions{}); {
	case apierrors.IsForbidden(err): // it is not needed for more than this
	case err != nil:
		return nil, o.noService(err)
	default:
		if speaksTLS(svc) {
			scheme = "https"
		}
		if p := apiServicePort(svc); p != nil {
			port = cmp.Or(p.Name, strconv.Itoa(int(p.Port)))
		}
	}
	transport, err := rest.TransportFor(cfg)
	if err != nil {
		return nil, err
	}
	base := clients.CoreV1().RESTClient().Get().Namespace(o.KhookNamespace).Resource("services").SubResource("proxy").Name(utilnet.JoinSchemeNamePort(scheme, o.KhookService, port)).URL()
	c := New(base.String(), token, transport, o.Timeout)
	c.proxied = true
	return c, nil
}

// ClusterConfig is that of the kube context.
func (o *Options) ClusterConfig() (*rest.Config, error) {
	cfg, err := o.kubeContext().ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("find the cluster that khook runs in: %w; set --server, --kubeconfig or --context", err)
	}
	return cfg, nil
}

// ContextNamespace is the namespace of the kube context.
func (o *Options) ContextNamespace() (string, error) {
	namespace, _, err := o.kubeContext().Namespace()
	return namespace, err
}

func (o *Options) kubeContext() clientcmd.ClientConfig {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.Kubeconfig
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{
		CurrentContext: o.Context, AuthInfo: clientcmdapi.AuthInfo{Impersonate: o.As, ImpersonateGroups: o.AsGroup},
	})
}

// ErrNoToken is returned for a kube context with which one can't ask khook, which knows people by their tokens.
var ErrNoToken = errors.New(`the kube context has no bearer token (it may use a client certificate): pass --token "$(kubectl create token SERVICEACCOUNT -n NAMESPACE)"`)

// callerToken is the token of whom the kube context is or, if it impersonates somebody, of that one. khook knows callers by
// their tokens and nothing else: with that of who impersonates it would answer by rights that were laid aside. A
// ServiceAccount's token is made, with the rights of who impersonates; a person's can't be.
func callerToken(ctx context.Context, cfg *rest.Config) (string, error) {
	as := cfg.Impersonate.UserName
	if as == "" {
		return contextToken(ctx, cfg)
	}
	namespace, name, ok := strings.Cut(strings.TrimPrefix(as, serviceAccountPrefix), ":")
	if !ok || !strings.HasPrefix(as, serviceAccountPrefix) {
		return "", fmt.Errorf("khook knows callers by their tokens, and there is none of %s: ask as a ServiceAccount (--as %sNAMESPACE:NAME), or pass --token", as, serviceAccountPrefix)
	}
	own := rest.CopyConfig(cfg)
	own.Impersonate = rest.ImpersonationConfig{}
	clients, err := kubernetes.NewForConfig(own)
	if err != nil {
		return "", err
	}
	within := int64(tokenSeconds)
	made, err := clients.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &within}}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("make a token of the ServiceAccount %s/%s to ask as: %w", namespace, name, err)
	}
	return made.Status.Token, nil
}

const (
	serviceAccountPrefix = "system:serviceaccount:"
	tokenSeconds         = 3600 // a stream is followed for longer than the least that the API server gives
)

// contextToken is the bearer token that a request of the kube context would carry.
func contextToken(ctx context.Context, cfg *rest.Config) (string, error) {
	var seen authorization
	wrapped, err := rest.HTTPWrappersForConfig(cfg, &seen)
	if err != nil {
		return "", fmt.Errorf("credentials of the kube context: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://nowhere.invalid/", nil) // it is never sent
	if err != nil {
		return "", err
	}
	resp, err := wrapped.RoundTrip(req)
	if err != nil {
		return "", fmt.Errorf("credentials of the kube context: %w", err)
	}
	_ = resp.Body.Close()
	token, ok := strings.CutPrefix(string(seen), "Bearer ")
	if !ok || token == "" {
		return "", ErrNoToken
	}
	return token, nil
}

// authorization notes the header of a request, and sends nothing.
type authorization string

// RoundTrip implements http.RoundTripper.
func (a *authorization) RoundTrip(r *http.Request) (*http.Response, error) {
	*a = authorization(r.Header.Get("Authorization"))
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader("")), Request: r}, nil
}

// khookPod finds khook's Service, and a Pod of it that is ready.
func (o *Options) khookPod(ctx context.Context, clients kubernetes.Interface) (*corev1.Service, *corev1.Pod, error) {
	svc, err := clients.CoreV1().Services(o.KhookNamespace).Get(ctx, o.KhookService, metav1.GetOptions{})
	if err != nil {
		return nil, nil, o.noService(err)
	}
	if len(svc.Spec.Selector) == 0 {
		return nil, nil, fmt.Errorf("the Service %s/%s selects no Pods: set --server", svc.Namespace, svc.Name)
	}
	pods, err := clients.CoreV1().Pods(svc.Namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.SelectorFromSet(svc.Spec.Selector).String(), Limit: 100})
	if err != nil {
		return nil, nil, fmt.Errorf("look for khook's Pods: %w", err)
	}
	for i := range pods.Items {
		if p := &pods.Items[i]; podReady(p) {
			return svc, p, nil
		}
	}
	return nil, nil, fmt.Errorf("no Pod of Service %s/%s is ready: kubectl -n %s get pods", svc.Namespace, svc.Name, svc.Namespace)
}

// noService says why khook's Service was not found.
func (o *Options) noService(err error) error {
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("there is no Service %s in namespace %s: set --khook-namespace and --khook-service, or --server", o.KhookService, o.KhookNamespace)
	}
	return fmt.Errorf("look for khook's Service: %w", err)
}

func podReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue && p.DeletionTimestamp == nil
		}
	}
	return false
}

// usualPort is that of the HTTP API where nothing else is said.
const usualPort = 8082

// apiServicePort is the Service's port "api", or else 8082; nil if it has neither.
func apiServicePort(svc *corev1.Service) *corev1.ServicePort {
	var found *corev1.ServicePort
	for i := range svc.Spec.Ports {
		switch p := &svc.Spec.Ports[i]; {
		case p.Name == "api":
			return p
		case p.Port == usualPort:
			found = p
		}
	}
	return found
}

// apiPort is the port of a Pod that the Service's port of the API leads to.
func apiPort(svc *corev1.Service, pod *corev1.Pod) int {
	target := intstr.FromInt32(usualPort)
	if p := apiServicePort(svc); p != nil {
		target = p.TargetPort
	}
	if target.Type == intstr.Int {
		return max(target.IntValue(), 1)
	}
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			if p.Name == target.StrVal {
				return int(p.ContainerPort)
			}
		}
	}
	return usualPort
}

// forward makes a port of the loopback address lead to a Pod's, until stop is called.
func forward(ctx context.Context, cfg *rest.Config, clients *kubernetes.Clientset, pod *corev1.Pod, port int) (local uint16, stop func(), err error) {
	target := clients.CoreV1().RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(cfg)
	if err != nil {
		return 0, nil, err
	}
	websocket, err := portforward.NewSPDYOverWebsocketDialer(target, cfg)
	if err != nil {
		return 0, nil, err
	}
	dialer := portforward.NewFallbackDialer(websocket, spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, target),
		func(err error) bool { return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err) })
	end, ready, failed := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	f, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", port)}, end, ready, io.Discard, io.Discard)
	if err != nil {
		return 0, nil, err
	}
	go func() { failed <- f.ForwardPorts() }()
	select {
	case err := <-failed:
		return 0, nil, err
	case <-ctx.Done():
		close(end)
		return 0, nil, ctx.Err()
	case <-ready:
	}
	ports, err := f.GetPorts()
	if err != nil || len(ports) != 1 {
		close(end)
		return 0, nil, fmt.Errorf("no port: %w", err)
	}
	return ports[0].Local, func() { close(end); <-failed }, nil //nolint:errcheck // it is over
}
