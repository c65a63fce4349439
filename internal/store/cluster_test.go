package store

import (
	"errors"
	"strings"
	"testing"

	"github.com/kagent-dev/khook/internal/delivery"
)

// TestAClusterIsKnownByItsUIDAndElseByItsName: with a new name it is the same, and nobody gets what is another's.
func TestAClusterIsKnownByItsUIDAndElseByItsName(t *testing.T) {
	row := func(no int64, name, uid string) *Cluster { return &Cluster{No: no, Name: name, UID: uid, Salt: name} }
	for _, c := range []struct {
		what      string
		have      []*Cluster
		name, uid string
		shared    bool

		no    int64
		known bool
		salt  string
		err   error
	}{
		{what: "an empty database", name: "a", uid: "1", shared: true, salt: "a"},
		{what: "the same again", have: []*Cluster{row(0, "a", "1")}, name: "a", uid: "1", shared: true, known: true, salt: "a"},
		{what: "another name", have: []*Cluster{row(0, "a", "1")}, name: "b", uid: "1", shared: true, known: true, salt: "a"},
		{what: "no name any more", have: []*Cluster{row(0, "a", "1")}, uid: "1", shared: true, known: true, salt: "a"},
		{what: "a UID that was not known before", have: []*Cluster{row(0, "a", "")}, name: "a", uid: "1", shared: true, known: true, salt: "a"},
		{what: "a UID that can't be read any more", have: []*Cluster{row(0, "a", "1")}, name: "a", shared: true, known: true, salt: "a"},
		{what: "the name of another cluster", have: []*Cluster{row(0, "a", "1")}, name: "a", uid: "2", shared: true, err: errForeignCluster},
		{what: "a new name that another cluster has", have: []*Cluster{row(0, "a", "1"), row(1, "b", "2")}, name: "a", uid: "2", shared: true, err: errForeignCluster},
		{what: "another cluster", have: []*Cluster{row(0, "a", "1")}, name: "b", uid: "2", shared: true, no: 1, salt: "b"},
		{what: "another cluster whose UID is not known", have: []*Cluster{row(0, "a", "")}, name: "b", shared: true, no: 1, salt: "b"},
		{what: "a name that another cluster had", have: []*Cluster{{Name: "new", UID: "1", Salt: "a"}}, name: "a", uid: "2", shared: true, no: 1, salt: "a #1"},
		{what: "a file from before there were UIDs", have: []*Cluster{row(0, "", "")}, name: "a", uid: "1", known: true},
		{what: "a file whose cluster has another name, and no UID", have: []*Cluster{row(0, "a", "1")}, name: "b", known: true, salt: "a"},
		{what: "a file of another cluster", have: []*Cluster{row(0, "", "1")}, uid: "2", err: errForeignCluster},
		{what: "one too many", have: make1024(), name: "a", uid: "1", shared: true, err: errTooManyClusters},
	} {
		got, known, err := identity(c.have, c.name, c.uid, c.shared)
		if !errors.Is(err, c.err) {
			t.Errorf("%s: %v", c.what, err)
		}
		if c.err != nil || err != nil {
			continue
		}
		if got.No != c.no || known != c.known || got.Salt != c.salt || got.Name != c.name || c.uid != "" && got.UID != c.uid {
			t.Errorf("%s: %+v, known %t", c.what, got, known)
		}
	}
}

func make1024() (all []*Cluster) {
	for no := range int64(MaxClusters) {
		all = append(all, &Cluster{No: no, Name: strings.Repeat("x", int(no)+2), Salt: "s", UID: "u"})
	}
	return all
}

// TestANewNameChangesNoID: what is known under the old name stays known, and is shown with the new one.
func TestANewNameChangesNoID(t *testing.T) {
	file := newPath(t)
	for _, name := range []string{"", "prod", "production"} {
		st, err := Open(t.Context(), Config{Path: file, Cluster: name, ClusterUID: "uid"})
		must(t, err)
		if name == "" {
			record(t, st, "k", long, 1, false, delivery.Working)
		}
		if origin := st.Cluster().Origin(); origin.Salt != "" || origin.Cluster != name {
			t.Errorf("as %q it is %+v", name, origin)
		}
		open, err := st.OpenIncidents(t.Context())
		if must(t, err); len(open) != 1 || open[0].Cluster != name {
			t.Errorf("%q has %v", name, open)
		}
		must(t, st.Close())
	}
	_, err := Open(t.Context(), Config{Path: file, Cluster: "production", ClusterUID: "another"})
	if !errors.Is(err, errForeignCluster) || !strings.Contains(err.Error(), "khook clusters adopt") {
		t.Errorf("another cluster of this name: %v", err)
	}
}

// TestACommandBesideKhookChangesNothingAboutTheCluster: it neither names it anew nor makes another one.
func TestACommandBesideKhookChangesNothingAboutTheCluster(t *testing.T) {
	file := newPath(t)
	st, err := Open(t.Context(), Config{Path: file, Cluster: "prod", ClusterUID: "1"})
	must(t, err)
	record(t, st, "k", long, 1, false, delivery.Working)
	must(t, st.Close())
	for _, name := range []string{"", "prod"} {
		beside, err := Open(t.Context(), Config{Path: file, Cluster: name, Visit: true})
		must(t, err)
		if open, err := beside.OpenIncidents(t.Context()); err != nil || len(open) != 1 || open[0].Cluster != "prod" {
			t.Errorf("as %q: %v, %v", name, open, err)
		}
		clusters, err := beside.Clusters(t.Context())
		if must(t, err); len(clusters) != 1 || *clusters[0] != (Cluster{Name: "prod", UID: "1", Salt: "prod"}) {
			t.Errorf("as %q: clusters %v", name, clusters)
		}
		must(t, beside.Close())
	}
	if _, err := Open(t.Context(), Config{Path: file, Cluster: "another", Visit: true}); !errors.Is(err, errWhichCluster) || !strings.Contains(err.Error(), `"prod"`) {
		t.Errorf("one that is not there: %v", err)
	}
}

// TestAClusterThatWasBuiltAnewTakesItsHistoryOverWhenAPersonSaysSo, and not before.
func TestAClusterThatWasBuiltAnewTakesItsHistoryOverWhenAPersonSaysSo(t *testing.T) {
	file := newPath(t)
	for _, step := range []struct {
		uid   string
		adopt bool
		err   error
	}{{"1", false, nil}, {"2", false, errForeignCluster}, {"", true, nil}, {"2", false, nil}, {"1", false, errForeignCluster}} {
		st, err := Open(t.Context(), Config{Path: file, Cluster: "prod", ClusterUID: step.uid, Visit: step.adopt})
		if !errors.Is(err, step.err) || step.err == nil && err != nil {
			t.Fatalf("%+v: %v", step, err)
		}
		if err != nil {
			continue
		}
		if step.adopt {
			must(t, st.Adopt(t.Context(), "prod"))
			if err := st.Adopt(t.Context(), "another"); !errors.Is(err, ErrNotFound) {
				t.Errorf("one that is not there: %v", err)
			}
		}
		must(t, st.Close())
	}
}
