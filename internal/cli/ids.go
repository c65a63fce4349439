package cli

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/google/uuid"

	"github.com/kagent-dev/khook/internal/api/client"
)

// storyFlags name one incident or delivery.
type storyFlags struct {
	Last bool `help:"The newest one, instead of an ID."`
	namespaceFlags
	namedItems
}

// tell prints the story of what is named.
func (f *storyFlags) tell(ctx context.Context, env Env, in *apiFlags, id string, story func(context.Context, *client.Client, *display, string, bool, url.Values) error) error {
	remote, err := in.connect(ctx)
	if err != nil {
		return err
	}
	defer remote.Close()
	return story(ctx, remote, in.display(env), id, f.Last, f.query())
}

const (
	minPrefix     = 6 // characters of an ID that name it
	shortIDLength = 8 // characters of an ID that are shown where there is little room
	maxCandidates = 10
)

// findID returns the whole ID of what a person named: by its ID, by the first characters of it, as -o name prints it, or
// by no name at all, which is the newest that the query selects. Incidents are also known by what owns their Pod, such
// as deploy/cart.
func findID[T any](ctx context.Context, remote *client.Client, s *shape[T], name string, last bool, q url.Values) (string, error) {
	switch {
	case last && name != "":
		return "", wrongUsage("--last is the newest of the %s: leave it out, or the ID", s.plural)
	case last:
		return newest(ctx, remote, s, q, "that is asked for")
	case name == "":
		return "", wrongUsage("which %s? Give an ID, as khook %s has it in the first column, its first %d characters or more, or --last", s.kind, s.plural, minPrefix)
	}
	kind, id, qualified := strings.Cut(name, "/")
	switch {
	case !qualified:
		id = name
	case kind == s.kind || kind == s.plural:
	case s.owners[strings.ToLower(kind)] != "":
		return ofOwner(ctx, remote, s, s.owners[strings.ToLower(kind)], id, q)
	default:
		return "", noID(s, name)
	}
	if id = strings.ToLower(id); uuid.Validate(id) == nil {
		return id, nil
	}
	switch {
	case isIDPrefix(id):
		return ofPrefix(ctx, remote, s, id, q)
	case len(id) < minPrefix && strings.Trim(id, idCharacters) == "":
		return "", wrongUsage("%q is too short: name the %s by the first %d characters of its ID or more", name, s.kind, minPrefix)
	}
	return "", noID(s, name)
}

const idCharacters = "0123456789abcdef-"

// isIDPrefix says whether a text can be an ID or its beginning: hexadecimal digits with hyphens where a UUID has them.
func isIDPrefix(text string) bool {
	for i, r := range strings.ToLower(text) {
		hyphen := i == 8 || i == 13 || i == 18 || i == 23
		if hyphen != (r == '-') || !strings.ContainsRune(idCharacters, r) {
			return false
		}
	}
	return len(text) >= minPrefix
}

func noID[T any](s *shape[T], name string) error {
	what := "an ID"
	if s.owners != nil {
		what = "an ID, or KIND/NAME such as deploy/cart"
	}
	return wrongUsage("%q names no %s: take %s from khook %s", name, s.kind, what, s.plural)
}

// newest is the ID of the newest that a query selects.
func newest[T any](ctx context.Context, remote *client.Client, s *shape[T], q url.Values, which string) (string, error) {
	found, err := list[T](ctx, remote, s.path(), q, &listFlags{Limit: 1})
	if err != nil {
		return "", err
	}
	if len(found.items) == 0 {
		return "", fmt.Errorf("there is no %s %s", s.kind, which)
	}
	return s.name(&found.items[0]), nil
}

// ofPrefix is the one ID that begins so.
func ofPrefix[T any](ctx context.Context, remote *client.Client, s *shape[T], prefix string, q url.Values) (string, error) {
	asked := url.Values{"idPrefix": {prefix}}
	set(asked, "namespace", q.Get("namespace"))
	found, err := list[T](ctx, remote, s.path(), asked, &listFlags{Limit: maxCandidates})
	switch {
	case err != nil:
		return "", err
	case len(found.items) == 0:
		return "", fmt.Errorf("no %s has an ID that begins with %s: khook %s lists them", s.kind, prefix, s.plural)
	case len(found.items) == 1:
		return s.name(&found.items[0]), nil
	}
	return "", fmt.Errorf("%s begin with %s: name more of the ID\n%s", counted(found, s), prefix, candidates(s, found.items))
}

func counted[T any](found *foundList[T], s *shape[T]) string {
	if found.more {
		return fmt.Sprintf("more than %d %s", len(found.items), s.plural)
	}
	return fmt.Sprintf("%d %s", len(found.items), s.plural)
}

// candidates are things that may have been meant, one a line.
func candidates[T any](s *shape[T], items []T) string {
	p := newDisplay(Env{}, "wide")
	_, cells := s.shown(newDisplay(Env{}, "table"))
	rows := make([][]string, len(items))
	for i := range items {
		rows[i] = cleaned(cells(&items[i]), []string{""})
		rows[i][0] = cleaned([]string{s.name(&items[i])}, nil)[0]
	}
	var b strings.Builder
	p.out = &b
	for _, row := range rows {
		fmt.Fprintln(p.out, "  "+padded(row, widest(rows, nil), columnGap, nil))
	}
	return strings.TrimRight(b.String(), "\n")
}

// ofOwner is the newest incident of what is named, which must be one thing: the same name in several namespaces is none.
func ofOwner[T any](ctx context.Context, remote *client.Client, s *shape[T], kind, name string, q url.Values) (string, error) {
	asked := url.Values{}
	set(asked, "namespace", q.Get("namespace"))
	if kind == "Pod" {
		asked.Set("resourceName", name)
	} else {
		asked.Set("workload", name)
	}
	found, err := list[T](ctx, remote, s.path(), asked, &listFlags{Limit: maxPage})
	if err != nil {
		return "", err
	}
	newestOf := map[string]*T{} // by namespace
	var first []T
	for i := range found.items {
		item := &found.items[i]
		of := s.subject(item)
		if kind != "Pod" && of.Workload.Kind != kind || newestOf[of.Namespace] != nil {
			continue
		}
		newestOf[of.Namespace] = item
		first = append(first, *item)
	}
	switch {
	case len(first) == 1:
		return s.name(&first[0]), nil
	case len(first) > 1:
		return "", fmt.Errorf("%s/%s is in %s: name one with -n\n%s", kind, name, plural(len(first), "namespace"), candidates(s, first))
	}
	return "", fmt.Errorf("there is no %s of %s/%s%s", s.kind, kind, name, inNamespace(q.Get("namespace")))
}

func inNamespace(namespace string) string {
	if namespace == "" {
		return ""
	}
	return " in namespace " + namespace
}

// ownerKinds are what may own a Pod, and the Pod, as kubectl writes them.
var ownerKinds = map[string]string{
	"po": "Pod", "pod": "Pod", "pods": "Pod",
	"deploy": "Deployment", "deployment": "Deployment", "deployments": "Deployment",
	"sts": "StatefulSet", "statefulset": "StatefulSet", "statefulsets": "StatefulSet",
	"ds": "DaemonSet", "daemonset": "DaemonSet", "daemonsets": "DaemonSet",
	"rs": "ReplicaSet", "replicaset": "ReplicaSet", "replicasets": "ReplicaSet",
	"job": "Job", "jobs": "Job", "cj": "CronJob", "cronjob": "CronJob", "cronjobs": "CronJob",
}

// shortKinds are the shortest words for what may own a Pod.
var shortKinds = map[string]string{
	"Pod": "pod", "Deployment": "deploy", "StatefulSet": "sts", "DaemonSet": "ds", "ReplicaSet": "rs", "Job": "job", "CronJob": "cj",
}

// group is what a call is about as people write it, which commands take too: deploy/cart.
func (p *display) group(group string) string {
	kind, name, ok := strings.Cut(group, "/")
	if short := shortKinds[kind]; ok && short != "" && p.form != "wide" {
		return short + "/" + name
	}
	return group
}

// tellStory fetches the story of one incident or delivery, and prints it.
func tellStory[T, D any](ctx context.Context, remote *client.Client, p *display, s *shape[T], id string, show func(*display, *D)) error {
	detail, raw, err := client.Fetch[D](ctx, remote, s.path()+"/"+url.PathEscape(id), nil)
	switch {
	case err != nil:
		return err
	case p.form == nameForm:
		return p.name(s.kind, id)
	case !p.forPeople():
		return p.raw(raw)
	}
	show(p, &detail)
	return nil
}
