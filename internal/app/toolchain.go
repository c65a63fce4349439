package app

import (
	goversion "go/version"
	"strings"

	"github.com/go-logr/logr"
)

// patchedGo is the Go release that go.mod names for building khook: the oldest one whose standard
// library has no vulnerability that is known and reachable from khook. A test holds it against go.mod.
const patchedGo = "go1.26.11"

// warnOfOldGo tells the operator that khook was built by a Go (a runtime.Version) older than
// patchedGo: then anybody who reaches khook's ports may be able to end it.
func warnOfOldGo(log logr.Logger, builtBy string) {
	if olderThanPatched(builtBy) {
		log.Info("khook was built by an older Go than its go.mod names: vulnerabilities that are mended since can be used against it; build it again, by make or with GOTOOLCHAIN=auto",
			"builtBy", builtBy, "goMod", patchedGo)
	}
}

// olderThanPatched compares Go releases. A development version counts as the release that it leads
// to, and one that can't be read as new enough: nothing is known about it.
func olderThanPatched(builtBy string) bool {
	// Such as "go1.26.11 X:nogreenteagc", and "devel go1.27-abcdef Thu Jan 1".
	release, _, _ := strings.Cut(strings.TrimPrefix(builtBy, "devel "), " ")
	return goversion.IsValid(release) && goversion.Compare(release, patchedGo) < 0
}
