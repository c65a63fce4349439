package server

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kagent-dev/khook/internal/access"
	"github.com/kagent-dev/khook/internal/api"
)

func base64URL(text []byte) string { return base64.URLEncoding.EncodeToString(text) }

func meOf(t *testing.T, f *fixture, who, query string) api.Me {
	t.Helper()
	var me api.Me
	w := f.as(who, http.MethodGet, api.Base+"/me"+query, "")
	if err := json.Unmarshal(w.Body.Bytes(), &me); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%s: %d %s", who, w.Code, w.Body)
	}
	return me
}

func TestMeTellsWhatKubernetesGrants(t *testing.T) {
	f := withPeople(t)
	name, token, _ := oncall(t)
	me := meOf(t, f, token, "")
	if me.Name != name || me.Authentication != "token" || !slices.Contains(me.Groups, "system:serviceaccounts:shop") {
		t.Errorf("%+v", me)
	}
	if me.Everywhere != (api.Rights{}) {
		t.Errorf("everywhere: %+v", me.Everywhere)
	}
	if diff := cmp.Diff([]api.NamespaceRights{{Namespace: shop, Rights: api.Rights{Read: true}}}, me.Namespaces); diff != "" {
		t.Error(diff)
	}
	want := []api.NamespaceRights{{Namespace: shop, Rights: api.Rights{Read: true}, Hooks: []api.HookRights{{Hook: "memory", Rights: api.Rights{Read: true, Texts: true, Act: true}}}}}
	if diff := cmp.Diff(want, meOf(t, f, token, "?namespace=shop").Namespaces); diff != "" {
		t.Error(diff)
	}
}

func TestMeOfEachCaller(t *testing.T) {
	g := people()
	g.rights["pauser"] = []access.Right{access.ReadHooks(shop), {Verb: "update", Subresource: "pause", Namespace: shop}}
	f := newFixture(t, func(c *Config) { c.Access = g })
	none, all := api.Rights{}, api.Rights{Read: true, Texts: true, Act: true, Approve: true}
	for who, want := range map[string]struct {
		everywhere api.Rights
		shop       *api.Rights // nil: it is not told of
	}{
		"stranger": {none, nil}, "texts only": {none, nil}, "elsewhere": {none, nil},
		"viewer": {none, &api.Rights{Read: true}}, "responder": {none, &api.Rights{Read: true, Act: true}},
		"approver": {none, &api.Rights{Read: true, Approve: true}}, "pauser": {none, &api.Rights{Read: true, Pause: true}},
		"admin": {all, &all},
	} {
		me := meOf(t, f, who, "")
		var got *api.Rights
		for _, in := range me.Namespaces {
			if in.Namespace == shop {
				got = &in.Rights
			}
		}
		if diff := cmp.Diff(want.everywhere, me.Everywhere) + cmp.Diff(want.shop, got); diff != "" || me.Truncated {
			t.Errorf("%s: %s", who, diff)
		}
	}
	before := g.asked.Load()
	meOf(t, f, "viewer", "")
	if asked := g.asked.Load() - before; asked > maxMeRights+numRights {
		t.Errorf("it asked Kubernetes %d times", asked)
	}
	me := meOf(t, f, "stranger", "?namespace=shop")
	if diff := cmp.Diff([]api.NamespaceRights{{Namespace: shop}}, me.Namespaces); diff != "" {
		t.Errorf("a stranger: %s", diff)
	}
	g.down.Store(true)
	wantAnswer(t, "while Kubernetes is away", f.as("viewer", http.MethodGet, api.Base+"/me", ""), http.StatusServiceUnavailable, "kubernetes-unavailable")
}

func TestMeWhereNobodyIsAsked(t *testing.T) {
	f := newFixture(t)
	me := meOf(t, f, "", "")
	if me.Authentication != "none" || !me.Everywhere.All() || me.Name != "" {
		t.Errorf("%+v", me)
	}
	wantAnswer(t, "session", askServer(f.Server, http.MethodGet, sessionPath, ""), http.StatusOK, `"authentication":"none"`)
}
