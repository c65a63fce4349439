package system

import (
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/delivery"
)

// The changes of whom khook talks to, or as whom, at a point.
const (
	upgraded   = "upgraded"    // halted, kagent becomes another version, and khook is let on
	rolledBack = "rolled back" // SIGKILL, kagent becomes another version, and khook is started; when it has met that, kagent is what it was
	otherUser  = "other user"  // SIGKILL, and started as another user of kagent; in the end again as the first one
	otherToken = "other token" // halted, its token becomes another user's, and it is let on; in the end the token is the first one's again
)

var changesOfPeers = []string{upgraded, rolledBack, otherUser, otherToken}

const firstUser, secondUser = "khook@first.example", "khook@second.example"

// peerChanges are what a supervisor changes of kagent, and of khook's user there.
type peerChanges struct {
	args       []string // of khook, about its user
	made, back bool
	from, to   string // the dialects
}

// beFirst makes khook the user that it is at the beginning.
func (k *supervisor) beFirst() { k.be(firstUser) }

func (k *supervisor) be(user string) {
	switch k.fault {
	case otherUser:
		k.changes.args = []string{"--kagent-user-id", user}
	case otherToken:
		file := filepath.Join(k.scene.dir, "token")
		next := file + ".next"
		if err := os.WriteFile(next, []byte(kagenttest.TokenFor(user)), 0o600); err != nil {
			k.t.Fatal(err)
		}
		if err := os.Rename(next, file); err != nil { // as the kubelet does it
			k.t.Fatal(err)
		}
		k.changes.args = []string{"--kagent-token-file", file}
	}
}

// change makes the change that the trial is about, once khook was stopped at the point. It says whether it was made.
func (k *supervisor) change() bool {
	if k.changes.made || !slices.Contains(changesOfPeers, k.fault) || !k.reached() {
		return false
	}
	k.changes.made = true
	switch k.fault {
	case upgraded, rolledBack:
		k.changes.from, k.changes.to = k.scene.kagent.Dialect(), anotherDialect(k.scene.kagent.Dialect(), k.point)
		k.scene.kagent.SetDialect(k.changes.to)
	default:
		k.be(secondUser)
	}
	return true
}

// anotherDialect is one that differs from point to point.
func anotherDialect(dialect, point string) string {
	all := agent.Dialects()
	n := 1 + int(crc32.ChecksumIEEE([]byte(point)))%(len(all)-1)
	return all[(slices.Index(all, dialect)+n)%len(all)]
}

// rollBack makes kagent what it was, once khook has talked to an agent of the other version.
func (k *supervisor) rollBack() {
	c := &k.changes
	if k.fault != rolledBack || !c.made || c.back {
		return
	}
	for _, q := range k.scene.kagent.Requests(kagenttest.Send, kagenttest.Get, kagenttest.Stream, kagenttest.Cancel, kagenttest.Tasks, kagenttest.List) {
		c.back = c.back || q.Dialect == c.to
	}
	if c.back {
		k.scene.kagent.SetDialect(c.from)
	}
}

// back makes khook the first user again, once the second has come as far as it can: a kagent 1.x shows it no tasks of the first.
func (k *supervisor) back() {
	if k.fault != otherUser && k.fault != otherToken {
		return
	}
	all := false
	k.scene.await("khook has come as far as it can, as another user or not", k.scene.inHistory(func(h *historyText) error {
		err := k.scene.final(h)
		if all = err == nil; !all && k.changes.made {
			return asFarAsItCan(h)
		}
		return err
	}))
	if all || !k.changes.made {
		return
	}
	last := k.procs[len(k.procs)-1]
	if !last.ended() {
		last.kill()
	}
	k.beFirst()
	k.scene.patience = 4 * time.Minute // the longer khook was denied to look, the later it looks again
	k.start("")
}

// asFarAsItCan says what is left to do of which the task can be looked at.
func asFarAsItCan(h *historyText) error {
	for _, d := range h.deliveries {
		if !d.State.Ended() && !outOfSight(d) {
			return fmt.Errorf("delivery of %s is %s: %s", d.Group, d.State, d.Error)
		}
	}
	return nil
}

// outOfSight says whether kagent refuses to show the delivery's task, or whether it has one, to who khook is.
func outOfSight(d *delivery.Delivery) bool {
	looks := strings.HasPrefix(d.Error, "cannot look at the task") || strings.HasPrefix(d.Error, "cannot find out whether the message arrived")
	return looks && strings.Contains(d.Error, "not authorized")
}

// overMeanwhile says whether a delivery ended so because its incidents had ended when its message could have been sent again: kagent 1.0
// would have known the message by its ID, but nobody is called for what is over.
func overMeanwhile(d *delivery.Delivery) bool {
	return notKnown(d) && strings.Contains(d.Failure, "everything that it is about has ended")
}

// notKnown says whether a delivery ended because nobody can say whether its message arrived.
func notKnown(d *delivery.Delivery) bool {
	return d.State.Ended() && d.TaskID == "" && strings.Contains(d.Failure, "it is not known whether the message arrived")
}
