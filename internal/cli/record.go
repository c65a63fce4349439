package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/kagent-dev/khook/internal/api/client"
	"github.com/kagent-dev/khook/internal/recorder"
)

// recordCmd is khook record.
type recordCmd struct {
	Namespaces    []string      `short:"n" name:"namespace" help:"Namespaces; that of the kube context if there is none and no -A." placeholder:"NS,..."`
	AllNamespaces bool          `short:"A" help:"All namespaces."`
	Selector      string        `short:"l" help:"Only Pods with these labels, such as app=cart." placeholder:"LABELS"`
	For           time.Duration `help:"How long; until Ctrl-C if it is left out." placeholder:"DURATION"`
	Output        string        `short:"o" required:"" help:"File of the recording, which must not be there yet; - for the standard output." placeholder:"FILE"`
	Anonymize     bool          `help:"Replace the names of namespaces, workloads, Pods, images, nodes, Secrets and ConfigMaps, and IP addresses: everywhere, the same by the same."`
	Kubeconfig    string        `help:"Kubeconfig of the cluster." placeholder:"FILE"`
	Context       string        `help:"Context of the kubeconfig; the current one if empty." placeholder:"NAME"`

	observe func(recorder.Record) // of tests
}

// Help is shown below the flags.
func (recordCmd) Help() string {
	return fmt.Sprintf(`Watches Pods, and the Events about them, with the rights of the kube context, and writes what was there and what came as a recording that khook replay plays: a Hook can so be tried on what happens in your own cluster. What you may not read is told, and left out. A Pod that loses the labels is recorded as deleted, as the API server tells it.

Only what khook itself reads is recorded. Environment, commands, volumes, annotations and probes' commands and headers are left out, and the names of Secrets and ConfigMaps are replaced in messages. With --anonymize other names are replaced too; the keys of labels, names that occur only in what programs wrote, and all else that they wrote stay: read a recording before you pass it on.

The recording is held in memory and written at its end. It ends by itself when it has %d MiB.`, recorder.MaxBytes>>20)
}

// Validate checks what kong can't.
func (c *recordCmd) Validate() error {
	if c.AllNamespaces && len(c.Namespaces) > 0 {
		return errors.New("-A means all namespaces: leave out -n, or -A")
	}
	if c.For < 0 {
		return fmt.Errorf("--for is %s: it must be more than 0", c.For)
	}
	if _, err := labels.Parse(c.Selector); err != nil {
		return fmt.Errorf("--selector: %w", err)
	}
	return nil
}

// Run records.
func (c *recordCmd) Run(ctx context.Context, env Env) error {
	o, err := c.options(env)
	if err != nil {
		return err
	}
	r, err := recorder.New(ctx, o)
	if err != nil {
		return err
	}
	out, err := c.create(env)
	if err != nil {
		return err
	}
	until := "until Ctrl-C"
	if c.For > 0 {
		until = "for " + c.For.String() + " or until Ctrl-C"
	}
	o.Tell("recording " + until)
	counts, err := r.Run(ctx)
	if err == nil {
		err = c.write(r, out)
	}
	if err != nil {
		return errors.Join(err, c.discard(out))
	}
	o.Tell(fmt.Sprintf("recorded %s (%s) and %s in %s", plural(int64(counts.Pods), "Pod"), plural(int64(counts.PodVersions), "version"), plural(int64(counts.Events), "Event"), counts.Took.Round(time.Second)))
	return nil
}

func (c *recordCmd) options(env Env) (recorder.Options, error) {
	from := client.Options{Kubeconfig: c.Kubeconfig, Context: c.Context}
	cluster, err := from.ClusterConfig()
	if err != nil {
		return recorder.Options{}, err
	}
	namespaces := c.Namespaces
	if len(namespaces) == 0 && !c.AllNamespaces {
		of, err := from.ContextNamespace()
		if err != nil {
			return recorder.Options{}, err
		}
		namespaces = []string{of}
	}
	return recorder.Options{
		Cluster: cluster, Namespaces: namespaces, Selector: c.Selector, For: c.For, Anonymize: c.Anonymize, Version: env.Version, Observe: c.observe,
		Tell: func(text string) { fmt.Fprintln(env.Err, "khook:", text) },
	}, nil
}

// create makes the file before anything is recorded: that it can't be written must not be found out afterwards.
func (c *recordCmd) create(env Env) (io.Writer, error) {
	if c.Output == "-" {
		return env.Out, nil
	}
	return os.OpenFile(c.Output, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
}

func (c *recordCmd) write(r *recorder.Recorder, out io.Writer) error {
	buffered := bufio.NewWriter(out)
	if err := errors.Join(r.Write(buffered), buffered.Flush()); err != nil {
		return fmt.Errorf("write %s: %w", c.Output, err)
	}
	if f, ok := out.(*os.File); ok && c.Output != "-" {
		return f.Close()
	}
	return nil
}

// discard removes the file of a recording that is none.
func (c *recordCmd) discard(out io.Writer) error {
	f, ok := out.(*os.File)
	if !ok || c.Output == "-" {
		return nil
	}
	_ = f.Close() // it may be closed
	return os.Remove(c.Output)
}
