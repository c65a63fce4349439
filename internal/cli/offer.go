package cli

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/api/client"
	"github.com/kagent-dev/khook/internal/incident"
)

// offerCmd is what the completion scripts ask while a person types: what is there that begins with a word. It is silent
// where that can't be found out, and soon done.
type offerCmd struct {
	Kind string `arg:"" enum:"hooks,namespaces,agents,incidents,deliveries,questions"`
	Word string `arg:"" optional:""`
	Line string `arg:"" optional:""`
}

const (
	offerWithin = 2 * time.Second
	maxOffers   = 100
)

// suggestion is something that a word could become, and what it is.
type suggestion struct{ word, help string }

// completable is what the shells get: in a script for bash everything else could be code.
var completable = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9./-]*$`)

// Run prints what is there, one a line, with a tab and what it is behind it.
func (c *offerCmd) Run(ctx context.Context, env Env) error {
	flags, ok := typed(c.Line)
	if !ok {
		return nil
	}
	flags.Timeout = offerWithin
	ctx, cancel := context.WithTimeout(ctx, offerWithin)
	defer cancel()
	remote, err := client.Connect(ctx, client.Options(flags.connectionFlags))
	if err != nil {
		return nil // a shell has nowhere to show why
	}
	defer remote.Close()
	all, _ := offers[c.Kind](ctx, remote, flags.Namespace, c.Word)
	for _, o := range all[:min(len(all), maxOffers)] {
		if completable.MatchString(o.word) && strings.HasPrefix(o.word, c.Word) {
			if _, err := fmt.Fprintf(env.Out, "%s\t%s\n", o.word, incident.Clean(o.help, maxCell)); err != nil {
				return err
			}
		}
	}
	return nil
}

// typedFlags are those of a command line that is not complete which say where khook is.
type typedFlags struct {
	connectionFlags
	Namespace string `short:"n"`
}

var unquoted = strings.NewReplacer(`"`, "", `'`, "")

// typed reads them, and passes over all else.
func typed(line string) (flags typedFlags, ok bool) {
	parser, err := kong.New(&flags, kong.Writers(io.Discard, io.Discard), kong.Exit(func(int) {}))
	if err != nil {
		return flags, false
	}
	var args []string
	words := strings.Fields(line)
	for i, word := range words {
		name, _, withValue := strings.Cut(word, "=")
		for _, f := range parser.Model.Flags {
			if f.Name == "help" || name != "--"+f.Name && (f.Short == 0 || name != "-"+string(f.Short)) {
				continue
			}
			hasNext := !withValue && !f.IsBool()
			if hasNext && i+1 == len(words) {
				continue // it is just being typed
			}
			args = append(args, unquoted.Replace(word))
			if hasNext {
				args = append(args, unquoted.Replace(words[i+1]))
			}
		}
	}
	_, err = parser.Parse(args)
	return flags, err == nil
}

// offers are what can be completed, by kind.
var offers = map[string]func(ctx context.Context, remote *client.Client, namespace, word string) ([]suggestion, error){
	"hooks": func(ctx context.Context, remote *client.Client, namespace, _ string) (all []suggestion, err error) {
		hooks, err := hooksOf(ctx, remote, namespace)
		for _, h := range hooks {
			all = append(all, suggestion{h.Namespace + "/" + h.Name, strings.Join(h.Events, ", ")})
		}
		return all, err
	},
	"namespaces": func(ctx context.Context, remote *client.Client, _, _ string) (all []suggestion, err error) {
		hooks, err := hooksOf(ctx, remote, "")
		for _, h := range hooks {
			all = append(all, suggestion{h.Namespace, "has Hooks"})
		}
		return slices.Compact(all), err // they come by namespace
	},
	"agents": func(ctx context.Context, remote *client.Client, namespace, _ string) (all []suggestion, err error) {
		hooks, err := hooksOf(ctx, remote, namespace)
		for _, h := range hooks {
			for _, a := range h.Agents {
				all = append(all, suggestion{a, "an agent that Hooks call"})
			}
		}
		slices.SortFunc(all, func(a, b suggestion) int { return strings.Compare(a.word, b.word) })
		return slices.Compact(all), err
	},
	"incidents": func(ctx context.Context, remote *client.Client, namespace, word string) ([]suggestion, error) {
		return offeredIDs(ctx, remote, incidentShape(), namespace, word, func(i *api.Incident) string {
			return fmt.Sprintf("%s of %s/%s, %s", i.EventType, i.Namespace, i.ResourceName, i.Status)
		})
	},
	"deliveries": func(ctx context.Context, remote *client.Client, namespace, word string) ([]suggestion, error) {
		return offeredIDs(ctx, remote, deliveryShape(), namespace, word, func(d *api.Delivery) string {
			return fmt.Sprintf("%s, %s/%s about %s", d.State, d.Hook.Namespace, d.Hook.Name, d.Group)
		})
	},
	"questions": func(ctx context.Context, remote *client.Client, namespace, _ string) (all []suggestion, err error) {
		box, _, err := fetchInbox(ctx, remote, namespace, "")
		for i := range box.Items {
			if item := &box.Items[i]; item.QuestionID != "" {
				all = append(all, suggestion{shortID(item), fmt.Sprintf("%s about %s", item.Kind, item.Group)})
			}
		}
		return all, err
	},
}

func hooksOf(ctx context.Context, remote *client.Client, namespace string) ([]api.Hook, error) {
	q := url.Values{}
	set(q, "namespace", namespace)
	found, err := list[api.Hook](ctx, remote, "/hooks", q, &listFlags{Limit: maxPage})
	if err != nil {
		return nil, err
	}
	return found.items, nil
}

// offeredIDs are the IDs of the newest that begin with a word: short ones, as the lists have them, until more is typed.
func offeredIDs[T any](ctx context.Context, remote *client.Client, s *shape[T], namespace, word string, help func(*T) string) (all []suggestion, err error) {
	q := url.Values{}
	set(q, "namespace", namespace)
	if isIDPrefix(word) {
		q.Set("idPrefix", strings.ToLower(word))
	}
	found, err := list[T](ctx, remote, s.path(), q, &listFlags{Limit: maxOffers})
	if err != nil {
		return nil, err
	}
	for i := range found.items {
		id := s.name(&found.items[i])
		if len(word) <= shortIDLength {
			id = id[:min(len(id), shortIDLength)]
		}
		all = append(all, suggestion{id, help(&found.items[i])})
	}
	return all, nil
}
