package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/alecthomas/kong"

	"github.com/kagent-dev/khook/internal/api/client"
)

// connectionFlags say how a command gets at the HTTP API of a running khook. Its fields are those of client.Options in
// the same order, which the compiler holds: one is converted into the other.
type connectionFlags struct {
	Server                string        `help:"URL of khook's HTTP API, such as http://127.0.0.1:8082; through the current kube context if empty." env:"KHOOK_SERVER" group:"Connection" placeholder:"URL"`
	Token                 string        `help:"Bearer token; that of the kube context if empty and --server is not set." env:"KHOOK_TOKEN" group:"Connection" placeholder:"TOKEN"`
	TokenFile             string        `help:"File with the bearer token." env:"KHOOK_TOKEN_FILE" group:"Connection" placeholder:"FILE"`
	CAFile                string        `name:"ca-file" aliases:"certificate-authority" help:"Certificates in PEM that the server's is checked against, rather than the system's." env:"KHOOK_CA_FILE" group:"Connection" placeholder:"FILE"`
	TLSServerName         string        `name:"tls-server-name" help:"Name that the server's certificate is checked for; that of --server or of khook's Service if empty." env:"KHOOK_TLS_SERVER_NAME" group:"Connection" placeholder:"NAME"`
	InsecureSkipTLSVerify bool          `name:"insecure-skip-tls-verify" help:"Do not check the server's certificate." group:"Connection"`
	AllowPlainHTTP        bool          `name:"allow-plain-http" help:"Send the token without TLS also to what is not the loopback address." group:"Connection"`
	Kubeconfig            string        `help:"Kubeconfig of the cluster that khook runs in." group:"Connection" placeholder:"FILE"`
	Context               string        `help:"Context of the kubeconfig; the current one if empty." group:"Connection" placeholder:"NAME"`
	As                    string        `help:"Ask as this ServiceAccount (system:serviceaccount:NAMESPACE:NAME) instead of who the kube context is; with --token as anybody." group:"Connection" placeholder:"USER"`
	AsGroup               []string      `help:"A group of --as; may be repeated." group:"Connection" placeholder:"GROUP"`
	KhookNamespace        string        `help:"Namespace of khook's Service." default:"kagent" env:"KHOOK_NAMESPACE" group:"Connection" placeholder:"NS"`
	KhookService          string        `help:"Name of khook's Service." default:"khook" env:"KHOOK_SERVICE" group:"Connection" placeholder:"NAME"`
	ViaAPIServer          bool          `name:"via-api-server" help:"Through the API server's proxy for Services, where you may not forward ports; on its way on from there nobody checks who gets the token." group:"Connection"`
	Timeout               time.Duration `help:"How long an answer may take." default:"30s" group:"Connection"`
}

// apiFlags say how a command gets at the HTTP API, and how it prints.
type apiFlags struct {
	connectionFlags
	outputFlags
}

// connect finds the API. The client is to be closed.
func (f *apiFlags) connect(ctx context.Context) (*client.Client, error) {
	return client.Connect(ctx, client.Options(f.connectionFlags))
}

// AfterApply refuses forms of the output that there are not, and warns of what takes the protection of TLS away. kong calls it once
// the flags are read. It calls no method Validate of what is embedded, as long as more than one is.
func (f *apiFlags) AfterApply(c *kong.Context, env Env) error {
	if err := f.check(c); err != nil {
		return err
	}
	if f.InsecureSkipTLSVerify {
		fmt.Fprintln(env.Err, "khook: warning: the server's certificate is not checked (--insecure-skip-tls-verify): whoever is on the way can read the token; --ca-file checks it")
	}
	return nil
}
