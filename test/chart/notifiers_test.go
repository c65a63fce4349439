package chart

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/kagent-dev/khook/internal/notify"
)

const someNotifiers = `notifiers=[
	{"name":"oncall","shape":"slack","urlSecret":{"name":"slack-oncall","key":"hook"},"tell":["needs-person"]},
	{"name":"bus","shape":"cloudevents","url":"https://events.example.com/khook","match":{"namespaces":["shop"]},"uncalledAfter":"1h",
	 "headers":[{"name":"X-Team","value":"sre"},{"name":"Authorization","valueSecret":{"name":"bus-token","key":"header"}}]}]`

// TestKhookUnderstandsTheNotifiersOfTheChart reads what khook is given as khook does, and looks for each file that it names where a Secret is mounted.
func TestKhookUnderstandsTheNotifiersOfTheChart(t *testing.T) {
	all := objects(t, render(t, "--set-json", someNotifiers))
	deployment := decodeInto[appsv1.Deployment](t, named(t, all, "Deployment", "khook"))
	path := filepath.Join(t.TempDir(), "notifiers.yaml")
	text := decodeInto[corev1.ConfigMap](t, named(t, all, "ConfigMap", "khook-config")).Data["notifiers.yaml"]
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := notify.Load(path)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	files := []string{got.Notifiers[0].URLFile, got.Notifiers[1].Headers[1].ValueFile}
	secrets := map[string]string{}
	for _, v := range deployment.Spec.Template.Spec.Volumes {
		if v.Name != "notifiers" {
			continue
		}
		for _, s := range v.Projected.Sources {
			for _, item := range s.Secret.Items {
				secrets["/var/run/secrets/khook/notifiers/"+item.Path] = s.Secret.Name + "/" + item.Key
			}
		}
	}
	if secrets[files[0]] != "slack-oncall/hook" || secrets[files[1]] != "bus-token/header" || len(secrets) != 2 {
		t.Errorf("khook reads %v, and there is %v", files, secrets)
	}
	if got.Notifiers[1].Match.Namespaces[0] != "shop" || got.Notifiers[1].Headers[0].Value != "sre" {
		t.Errorf("%+v", got.Notifiers[1])
	}
}

func TestANotifierThatCannotBeMeantIsRefusedByTheChart(t *testing.T) {
	for _, set := range []string{
		`notifiers=[{"name":"oncall","shape":"sms","url":"https://x"}]`, `notifiers=[{"name":"oncall","shape":"slack"}]`,
		`notifiers=[{"name":"oncall","shape":"slack","url":"https://x","tells":["outcome"]}]`, `notifiers=[{"name":"oncall","shape":"slack","url":"https://x","groupWait":"5"}]`,
		`externalUrl="ops.example.com"`,
	} {
		if out, err := helm(t, "template", "khook", chart, "--set-json", set); err == nil {
			t.Errorf("%s is taken: %s", set, out)
		} else if !strings.Contains(out+err.Error(), strings.SplitN(set, "=", 2)[0]) {
			t.Errorf("%s: the error does not name it: %s%v", set, out, err)
		}
	}
}
