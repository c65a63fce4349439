package checkup

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/config/crd"
)

func decode(raw []byte, into any) error { return json.Unmarshal(raw, into) }

// hooksCRD is the name of the CustomResourceDefinition of Hooks.
const hooksCRD = "hooks.kagent.dev"

// hookVersion is the version of the Hook that this program knows.
var hookVersion = v1alpha2.SchemeGroupVersion.Version

// howToUpgrade says how the CustomResourceDefinition is brought up to date.
const howToUpgrade = "helm upgrade brings it up to date, or kubectl apply --server-side -f config/crd"

// crdBefore says which CustomResourceDefinition of Hooks is there before khook is installed.
func (c *checkup) crdBefore(ctx context.Context) {
	found, err := c.crds.ApiextensionsV1().CustomResourceDefinitions().Get(ctx, hooksCRD, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		c.ok("crd", "there is no %s yet: the chart brings it (crds.install)", hooksCRD)
	case err != nil:
		c.unread("crd", err)
	default:
		owner := found.Annotations["meta.helm.sh/release-namespace"] + "/" + found.Annotations["meta.helm.sh/release-name"]
		if owner == "/" {
			owner = "no helm release"
		}
		c.ok("crd", "%s is there with %s, of %s: install with --take-ownership unless that is your release, or with crds.install=false",
			hooksCRD, versionsOf(found), owner)
	}
}

// versionsOf are a CustomResourceDefinition's versions, for people.
func versionsOf(d *apiextensionsv1.CustomResourceDefinition) string {
	names := make([]string, len(d.Spec.Versions))
	for i, v := range d.Spec.Versions {
		names[i] = v.Name
		if !v.Served {
			names[i] += " (not served)"
		}
	}
	return strings.Join(names, ", ")
}

// crd says whether the CustomResourceDefinition in the cluster is that of this program.
func (c *checkup) crd(ctx context.Context) {
	found, err := c.crds.ApiextensionsV1().CustomResourceDefinitions().Get(ctx, hooksCRD, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		c.fail("crd", "there is no %s, without which khook does not start: install the chart with crds.install=true, or kubectl apply --server-side -f config/crd", hooksCRD)
		return
	case err != nil:
		c.unread("crd", err)
		return
	}
	var own apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(crd.Hooks, &own); err != nil {
		c.unseen("crd", "this program's own can't be read: %v", err)
		return
	}
	if problem := crdProblem(found, &own); problem != "" {
		c.fail("crd", "%s", problem)
		return
	}
	if newer := missing(schemaOf(&own), schemaOf(found)); len(newer) > 0 {
		c.warn("crd", "%s is newer than this program: it has %s; take the khook of the version that is installed", hooksCRD, some(newer))
		return
	}
	c.ok("crd", "%s is served as %s, and has all fields that this khook knows", hooksCRD, hookVersion)
}

// crdProblem is what keeps this khook from using a CustomResourceDefinition; "" for nothing.
func crdProblem(found, own *apiextensionsv1.CustomResourceDefinition) string {
	i := slices.IndexFunc(found.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool { return v.Name == hookVersion })
	switch {
	case i < 0:
		return fmt.Sprintf("%s has no version %s, only %s: %s", hooksCRD, hookVersion, versionsOf(found), howToUpgrade)
	case !found.Spec.Versions[i].Served:
		return fmt.Sprintf("%s does not serve version %s: %s", hooksCRD, hookVersion, howToUpgrade)
	case !established(found):
		return fmt.Sprintf("%s is not established: kubectl describe crd %s says why", hooksCRD, hooksCRD)
	}
	for _, stored := range found.Status.StoredVersions {
		if stored != hookVersion {
			return fmt.Sprintf("Hooks may still be stored as version %s, which this khook does not know: write each again (kubectl get hooks -A -o yaml | kubectl replace -f -), "+
				"and then take %s out of status.storedVersions of %s", stored, stored, hooksCRD)
		}
	}
	if lacks := missing(schemaOf(found), schemaOf(own)); len(lacks) > 0 {
		return fmt.Sprintf("%s is older than this khook: it lacks %s, and the API server drops or refuses what Hooks say there; %s", hooksCRD, some(lacks), howToUpgrade)
	}
	return ""
}

func established(d *apiextensionsv1.CustomResourceDefinition) bool {
	return slices.ContainsFunc(d.Status.Conditions, func(c apiextensionsv1.CustomResourceDefinitionCondition) bool {
		return c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue
	})
}

// schemaOf are the fields of a CustomResourceDefinition's version that khook knows, such as spec.eventConfigurations[].match, and
// what they can be.
func schemaOf(d *apiextensionsv1.CustomResourceDefinition) map[string]bool {
	paths := map[string]bool{}
	for _, v := range d.Spec.Versions {
		if v.Name == hookVersion && v.Schema != nil && v.Schema.OpenAPIV3Schema != nil {
			collectFields(v.Schema.OpenAPIV3Schema, "", paths)
		}
	}
	return paths
}

func collectFields(s *apiextensionsv1.JSONSchemaProps, path string, into map[string]bool) {
	for _, value := range s.Enum {
		into[path+"="+string(value.Raw)] = true
	}
	for _, rule := range s.XValidations {
		into[path+"=("+rule.Rule+")"] = true
	}
	for name, property := range s.Properties {
		at := strings.TrimPrefix(path+"."+name, ".")
		into[at] = true
		collectFields(&property, at, into)
	}
	if s.Items != nil && s.Items.Schema != nil {
		collectFields(s.Items.Schema, path+"[]", into)
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
		collectFields(s.AdditionalProperties.Schema, path+"{}", into)
	}
}

// missing are the fields of want that are not in have, without those below a field that is missing itself.
func missing(have, want map[string]bool) []string {
	var lacks []string
	for path := range want {
		if !have[path] {
			lacks = append(lacks, path)
		}
	}
	slices.Sort(lacks)
	var top []string
	for _, path := range lacks {
		below := func(parent string) bool {
			rest, inside := strings.CutPrefix(path, parent)
			return inside && strings.ContainsAny(rest[:1], ".[{=")
		}
		if !slices.ContainsFunc(top, below) {
			top = append(top, path)
		}
	}
	return top
}

// some are the first few of many names, for people.
func some(names []string) string {
	if len(names) > 3 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:3], ", "), len(names)-3)
	}
	return strings.Join(names, ", ")
}
