package recorder

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// names are the names that have been seen, each kind in the order in which they came.
type names struct {
	secrets    *numbered // of Secrets and ConfigMaps
	namespaces *numbered
	nodes      *numbered
	addresses  *numbered
	images     []string
	pods       map[string]namedPod // by name
	order      []string            // of the Pods
	elsewhere  []string            // Pods of which only Events were seen
	learned    map[string]int64    // generations of the Pods whose specs were looked at, by UID
}

// namedPod is where a Pod has its name from.
type namedPod struct {
	owner, ownerKind string
	hash             string // of the template, which the owner's name ends with
	node             string
}

func newNames() names {
	return names{
		secrets: &numbered{}, namespaces: &numbered{prefix: "namespace"}, nodes: &numbered{prefix: "node"}, addresses: &numbered{prefix: "ip"},
		pods: map[string]namedPod{}, learned: map[string]int64{},
	}
}

// numbered gives names other ones, which are counted.
type numbered struct {
	prefix string
	others map[string]string
	counts map[string]int
}

// other is what a name is replaced by.
func (n *numbered) other(name string) string { return n.by(n.prefix, name) }

func (n *numbered) by(prefix, name string) string {
	if n.others == nil {
		n.others, n.counts = map[string]string{}, map[string]int{}
	}
	if known, ok := n.others[name]; ok {
		return known
	}
	n.counts[prefix]++
	n.others[name] = fmt.Sprintf("%s-%d", prefix, n.counts[prefix])
	return n.others[name]
}

func (n names) node(name string) {
	if name == "" {
		return
	}
	other := n.nodes.other(name)
	if short, _, qualified := strings.Cut(name, "."); qualified && n.nodes.others[short] == "" {
		n.nodes.others[short] = other
	}
}

// learn takes the names out of a Pod, as the API server gave it.
func (n *names) learn(pod *corev1.Pod) {
	n.namespaces.other(pod.Namespace)
	n.node(pod.Spec.NodeName)
	for _, ip := range pod.Status.PodIPs {
		n.addresses.other(ip.IP)
	}
	for _, ip := range pod.Status.HostIPs {
		n.addresses.other(ip.IP)
	}
	if generation, known := n.learned[string(pod.UID)]; known && generation == pod.Generation {
		n.setPod(pod)
		return
	}
	n.learned[string(pod.UID)] = pod.Generation
	n.setPod(pod)
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			if !slices.Contains(n.images, containers[i].Image) {
				n.images = append(n.images, containers[i].Image)
			}
		}
	}
	if text, err := json.Marshal(pod.Spec); err == nil {
		var spec any
		if json.Unmarshal(text, &spec) == nil {
			n.secretsIn("", spec)
		}
	}
}

func (n *names) setPod(pod *corev1.Pod) {
	if _, known := n.pods[pod.Name]; !known {
		n.order = append(n.order, pod.Name)
	}
	of := namedPod{node: pod.Spec.NodeName}
	if owner := metav1.GetControllerOfNoCopy(pod); owner != nil {
		of.owner, of.ownerKind = owner.Name, owner.Kind
		for _, label := range []string{"pod-template-hash", "rollouts-pod-template-hash"} {
			of.hash = cmp.Or(of.hash, pod.Labels[label])
		}
	}
	n.pods[pod.Name] = of
}

// learnEvent takes the names out of an Event.
func (n *names) learnEvent(event *eventsv1.Event) {
	n.namespaces.other(cmp.Or(event.Regarding.Namespace, event.Namespace))
	n.node(event.DeprecatedSource.Host)
	if _, known := n.pods[event.Regarding.Name]; !known && !slices.Contains(n.elsewhere, event.Regarding.Name) && len(n.elsewhere) < maxEarly {
		n.elsewhere = append(n.elsewhere, event.Regarding.Name)
	}
}

// rootCA is in each namespace: its name says nothing.
const rootCA = "kube-root-ca.crt"

// secretsIn finds the names of Secrets and ConfigMaps in a Pod's specification, by how its fields are called: there are some
// thirty types that refer to one, and a volume's type that is added later calls it the same.
func (n *names) secretsIn(field string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			n.secretsIn(key, v[key])
		}
		lower := strings.ToLower(field)
		if name, ok := v["name"].(string); ok && (strings.Contains(lower, "secret") || strings.Contains(lower, "configmap")) {
			n.secret(lower, name)
		}
	case []any:
		for _, item := range v {
			n.secretsIn(field, item)
		}
	case string:
		if strings.EqualFold(field, "secretName") {
			n.secret(field, v)
		}
	}
}

func (n *names) secret(field, name string) {
	if name == "" || name == rootCA || common[name] {
		return
	}
	prefix := "secret"
	if strings.Contains(strings.ToLower(field), "configmap") {
		prefix = "configmap"
	}
	n.secrets.by(prefix, name)
}

// common are names that are also words of what Kubernetes says, or that each cluster has: in a text they tell nobody anything,
// and without them detection could not read it.
var common = func() map[string]bool {
	words := map[string]bool{}
	for word := range strings.FieldsSeq("OOM a and be by combined container containers default error errored events exit failed for from image in init initContainers is " +
		"killed kube-node-lease kube-public kube-system limit low memory node not of on ok pod pods probe similar spec the to too was with") {
		words[word] = true
	}
	return words
}()

// publicNames are what names are replaced by in a recording that others may read.
type publicNames struct {
	secrets   dictionary // in messages
	all       dictionary // everywhere
	anonymize bool
}

// public is how names are replaced, once all are known.
func (n *names) public(anonymize bool) publicNames {
	p := publicNames{secrets: newDictionary(isPartOfName), all: newDictionary(isAlphanumeric), anonymize: anonymize}
	for name, other := range n.secrets.others {
		p.secrets.set(name, other)
	}
	if !anonymize {
		return p
	}
	workloads, pods := &numbered{prefix: "workload"}, &numbered{prefix: "pod"}
	for _, name := range n.order {
		n.pods[name].replaceIn(p.all, name, workloads, pods, n.nodes)
	}
	for _, kind := range []*numbered{n.namespaces, n.nodes, n.addresses} {
		for name, other := range kind.others {
			p.all.set(name, other)
		}
	}
	images, registries := &numbered{prefix: "image"}, &numbered{prefix: "registry"}
	for _, image := range n.images {
		replaceImage(p.all, image, images, registries)
	}
	for name, other := range n.secrets.others {
		p.all.set(name, other)
	}
	for _, name := range n.elsewhere {
		if p.all.replace(name) == name {
			p.all.set(name, pods.other(name))
		}
	}
	return p
}

// ofSchedule is how a CronJob names its Jobs.
var ofSchedule = regexp.MustCompile(`^(.+)(-\d{8})$`)

// replaceIn keeps how a name is made of its owner's: khook, and people, read the workload from it.
func (p namedPod) replaceIn(d dictionary, name string, workloads, pods, nodes *numbered) {
	base, rest := p.owner, ""
	if m := ofSchedule.FindStringSubmatch(p.owner); m != nil && p.ownerKind == "Job" {
		base, rest = m[1], m[2]
	}
	if cut, ok := strings.CutSuffix(p.owner, "-"+p.hash); ok && p.hash != "" {
		base, rest = cut, "-"+p.hash
	}
	switch suffix, ok := strings.CutPrefix(name, p.owner+"-"); {
	case p.owner == "":
		d.set(name, pods.other(name))
	case p.ownerKind == "Node":
		before, _ := strings.CutSuffix(name, "-"+p.node)
		d.set(name, pods.other(before)+"-"+nodes.other(p.node))
		d.set(before, pods.other(before))
	default:
		owner := workloads.other(base) + rest
		d.set(base, workloads.other(base))
		d.set(p.owner, owner)
		if ok {
			d.set(name, owner+"-"+suffix)
		} else { // its owner's name was too long for it
			d.set(name, pods.other(name))
		}
	}
}

// replaceImage replaces an image's reference in the forms in which runtimes and registries name it.
func replaceImage(d dictionary, image string, images, registries *numbered) {
	name, digest, _ := strings.Cut(image, "@")
	repository, tag := name, ""
	if colon := strings.LastIndex(name, ":"); colon > strings.LastIndex(name, "/") {
		repository, tag = name[:colon], name[colon+1:]
	}
	other := images.other(repository)
	host, path, qualified := strings.Cut(repository, "/")
	if !qualified || !strings.ContainsAny(host, ".:") && host != "localhost" {
		host, path = "", repository
	}
	full := repository
	if host == "" {
		full = "docker.io/" + path
		if !strings.Contains(path, "/") {
			full = "docker.io/library/" + path
		}
	} else {
		d.set(host, registries.other(host))
	}
	for _, form := range []string{full, repository, path} {
		if tag != "" {
			d.set(form+":"+tag, other)
		}
		if digest != "" {
			d.set(form+"@"+digest, other)
		}
		d.set(form, other)
	}
	d.set(image, other)
	d.set(digest, other+"-digest")
	if tag != "" {
		d.set("manifests/"+tag, "manifests/tag")
	}
	d.set(path[strings.LastIndex(path, "/")+1:], other)
}

// kept are the fields that have no names in them, or names that must stay: what kind a thing is, and when and as which it was.
var kept = func() map[string]bool {
	fields := map[string]bool{}
	for field := range strings.FieldsSeq("action annotations apiVersion conditionType containerID creationTimestamp deletionTimestamp deprecatedFirstTimestamp " +
		"deprecatedLastTimestamp eventTime finishedAt khook kind lastObservedTime lastProbeTime lastTransitionTime limits phase qosClass reason requests resourceVersion " +
		"restartPolicy start startTime startedAt status type uid") {
		fields[field] = true
	}
	return fields
}()

// cleaned is an object without the names that must not be told.
func (p publicNames) cleaned(object any) (any, error) {
	text, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	var tree map[string]any
	if err := json.Unmarshal(text, &tree); err != nil {
		return nil, err
	}
	return p.clean("", tree), nil
}

func (p publicNames) clean(field string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, item := range v {
			switch text, isText := item.(string); {
			case field == "labels" && isText && p.anonymize:
				v[key] = p.all.replace(text)
			case kept[key] && (isText || key == "annotations" || key == "limits" || key == "requests"):
			default:
				v[key] = p.clean(key, item)
			}
		}
	case []any:
		for i := range v {
			v[i] = p.clean(field, v[i])
		}
	case string:
		return p.text(field, v)
	}
	return v
}

func (p publicNames) text(field, text string) string {
	if field == "message" || field == "note" {
		text = p.secrets.replace(text)
	}
	if p.anonymize {
		text = p.all.replace(text)
	}
	return text
}
