package dashboard

import (
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/store"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
	"github.com/kagent-dev/khook/internal/store/storetest"
)

// TestAnotherClusterIsChosen where khook serves it: the page is about khook's own until then, and about the other one alone from then on.
func TestAnotherClusterIsChosen(t *testing.T) {
	url := pgtest.Shared(t).Schema(t)
	st, err := store.Open(t.Context(), store.Config{Engine: pgtest.At(url), Cluster: "west", ClusterUID: "2"})
	if err != nil {
		t.Fatal(err)
	}
	if err := storetest.Fill(t.Context(), st, 500, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	(&scene{TB: t}).hooks()
	k := startKhook(t, "--database", url, "--cluster", "east", "--serve-clusters", "--kagent-url", "http://127.0.0.1:1")
	b := openTab(t, authenticatingProxy(t, k.url)+prefix)
	choice := `document.querySelector("select[aria-label=Cluster]")`
	rows := `document.querySelectorAll(".rows .row").length`
	b.open("/incidents")
	b.holds("the own cluster is shown, which has nothing", choice+`?.value === "east" && document.querySelector(".empty, main")?.innerText.includes("No") && `+rows+` === 0`)
	for _, step := range []struct{ cluster, holds string }{{"west", rows + " > 10"}, {"east", rows + " === 0"}} {
		eval[bool](b, `(() => { const s = `+choice+`; s.value = "`+step.cluster+`"; s.dispatchEvent(new Event("change", { bubbles: true })); return true })()`)
		b.holds("cluster "+step.cluster+" is shown", choice+`?.value === "`+step.cluster+`" && document.readyState === "complete" && `+step.holds)
	}
	b.quiet("another cluster")
}
