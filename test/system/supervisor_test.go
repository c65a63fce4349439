package system

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The faults: what happens to khook at a point.
const (
	killed     = "killed"     // SIGKILL, and started again
	terminated = "terminated" // SIGTERM, and started again
	deposed    = "deposed"    // halted until another replica leads, and then let on
	returned   = "returned"   // halted until another replica has done all the work, and then let on
	atRandom   = "at random"  // SIGKILL or SIGTERM at any moment, and started again
	amidst     = "amidst"     // the same while people act, and kagent and khook's user there change
)

var faults = []string{killed, terminated, deposed, returned}

var signalOf = map[string]string{
	killed: "SIGKILL", terminated: "SIGTERM", deposed: "SIGSTOP", returned: "SIGSTOP",
	upgraded: "SIGSTOP", rolledBack: "SIGKILL", otherUser: "SIGKILL", otherToken: "SIGSTOP",
}

// supervisor runs khook in a scene, does it the one thing that is to be tried, and starts it again when it
// ended, as Kubernetes would.
type supervisor struct {
	t     testing.TB
	scene *scenario
	fault string // "" for none
	point string
	args  []string
	procs []*process // all that were started; the first is the one that meets the fault
	files []string   // the points of each

	taken   time.Time // when another one was first seen to hold the lease
	letOn   bool      // the halted process may go on
	changes peerChanges
	person  *person
	wrong   []string
}

func keep(s *scenario, fault, point string) *supervisor {
	k := &supervisor{t: s.t, scene: s, fault: fault, point: point, args: append(settings(s.kagent, s.dir),
		"--namespaces", s.ns, "--stabilization", "1s", "--agent-check-every", "1h", "--log-level", "info")}
	k.args = append(append(k.args, s.flags...), "--notifiers-file", s.notices.file)
	if s.people {
		k.person = newPerson(s.ns, k.up)
	}
	k.beFirst()
	s.tend, s.back = k.tend, k.back
	stop := ""
	if fault != "" {
		stop = signalOf[fault] + " " + point
	}
	if k.replicated() {
		letElect(s.t, s.ns)
		k.args = append(k.args, "--leader-elect", "--leader-election-namespace", s.ns)
	}
	k.start(stop)
	if k.replicated() {
		s.await("the first replica leads", func() error {
			if k.holder() == "" && !k.halted() {
				return fmt.Errorf("nobody does")
			}
			return nil
		})
		k.start("")
	}
	return k
}

// replicated says whether there are two replicas, of which one is halted.
func (k *supervisor) replicated() bool { return k.fault == deposed || k.fault == returned }

// up are the processes that may answer.
func (k *supervisor) up() []*process {
	var all []*process
	for i, p := range k.procs {
		if !p.ended() && (i > 0 || !k.halted()) {
			all = append(all, p)
		}
	}
	return all
}

func (k *supervisor) start(stop string) {
	file := filepath.Join(k.scene.dir, fmt.Sprintf("points-%d", len(k.procs)))
	k.files = append(k.files, file)
	k.procs = append(k.procs, controllerWith(k.t, []string{pointsFile + "=" + file, stopAt + "=" + stop}, append(slices.Clone(k.args), k.changes.args...)...))
}

// tend starts khook again where it ended, and lets a halted one on when another leads, or what was to change has changed.
func (k *supervisor) tend() {
	if k.person != nil && k.scene.over() {
		k.person.act()
	}
	if last := k.procs[len(k.procs)-1]; last.ended() {
		k.checkEnd(len(k.procs) - 1)
		if len(k.procs) > 20 {
			k.t.Fatal("khook ends again and again")
		}
		k.change()
		k.start("")
	}
	if k.halted() && (k.change() || k.fault == deposed && k.othersLead() || k.lockedOut()) {
		k.proceed()
	}
	k.rollBack()
}

// proceed lets the halted process on.
func (k *supervisor) proceed() {
	k.letOn = true
	_ = k.procs[0].cmd.Process.Signal(syscall.SIGCONT)
}

// checkEnd notes an end that nobody asked for, and a failure of one that was asked for. Where
// leadership is lost khook ends by itself.
func (k *supervisor) checkEnd(i int) {
	status, _ := k.procs[i].cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case signalOf[k.fault] == "SIGKILL" && i == 0 && status.Signal() == syscall.SIGKILL:
	case k.fault == terminated && i == 0 && status.ExitStatus() == 0:
	case k.replicated() && deposedSays(k.procs[i]):
	default:
		k.wrong = append(k.wrong, fmt.Sprintf("process %d ended with %v:\n%s", i, k.procs[i].cmd.ProcessState, tail(k.procs[i].log.String(), 1500)))
	}
}

// deposedSays says whether a process has ended because another one led.
func deposedSays(p *process) bool {
	log := p.log.String()
	return strings.Contains(log, "leader election lost") || strings.Contains(log, "this khook must begin anew")
}

// leads waits until khook works; a halted one has worked far enough.
func (k *supervisor) leads() {
	k.scene.await("khook watches", func() error {
		for i, p := range k.procs {
			if i == 0 && k.halted() || p.ended() {
				continue
			}
			if k.watches(p) {
				return nil
			}
		}
		return fmt.Errorf("nobody does")
	})
}

func (k *supervisor) watches(p *process) bool {
	return strings.Contains(p.scrape(), `khook_watch_up{resource="events"} 1`)
}

// othersLead says whether another replica than the halted one has taken over. It may be unable to
// watch while the halted one keeps the history locked.
func (k *supervisor) othersLead() bool {
	last := k.procs[len(k.procs)-1]
	if k.watches(last) {
		return true
	}
	if !strings.Contains(last.log.String(), "Successfully acquired lease") {
		return false
	}
	if k.taken.IsZero() {
		k.taken = time.Now()
	}
	return time.Since(k.taken) > 2*time.Second
}

// lockedOut says whether the other replica can't work because the process was halted in the middle of
// a commit: it keeps the history locked.
func (k *supervisor) lockedOut() bool {
	return k.replicated() && strings.Contains(k.procs[len(k.procs)-1].log.String(), "another process has it locked")
}

func (k *supervisor) holder() string {
	var lease coordinationv1.Lease
	if err := testCluster.client.Get(k.t.Context(), client.ObjectKey{Namespace: k.scene.ns, Name: "khook.kagent.dev"}, &lease); err != nil || lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// reached says whether the fault happened.
func (k *supervisor) reached() bool {
	return slices.ContainsFunc(readPoints(k.files[0]), func(p reached) bool { return p.point == k.point })
}

// halted says whether the first process is halted at the point.
func (k *supervisor) halted() bool {
	if k.letOn || signalOf[k.fault] != "SIGSTOP" || len(k.procs) == 0 || k.procs[0].ended() || !k.reached() {
		return false
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", k.procs[0].cmd.Process.Pid))
	if err != nil {
		return false
	}
	_, after, _ := bytes.Cut(text, []byte(") "))
	return len(after) > 0 && after[0] == 'T'
}

// inHand are the messages that were on their way out of the first process when it was halted: it had
// asked whether it still leads, and had no answer of the agent yet.
func (k *supervisor) inHand() map[string]bool {
	found := map[string]bool{}
	if !k.replicated() {
		return found
	}
	open := map[string]string{} // message IDs by the number of the request
	for _, p := range readPoints(k.files[0]) {
		numbered, side, _ := strings.Cut(p.point, " "+beforePoint)
		if id, _, ok := strings.Cut(p.detail, " "); ok && side == "" {
			open[numbered] = id
		}
		delete(open, strings.TrimSuffix(p.point, " "+afterPoint))
		if p.point == k.point {
			break
		}
	}
	for _, id := range open {
		found[id] = true
	}
	return found
}

// end stops khook as Kubernetes would. One that was deposed ends by itself.
func (k *supervisor) end() {
	if k.fault == returned && k.halted() {
		k.scene.await("another replica leads", func() error { // else the first one would simply go on to
			if !k.watches(k.procs[len(k.procs)-1]) {
				return fmt.Errorf("it does not watch")
			}
			return nil
		})
		k.proceed()
	}
	if k.letOn && k.replicated() {
		k.scene.await("the deposed replica has ended, or never led", func() error {
			if p := k.procs[0]; !p.ended() && k.watches(p) {
				return fmt.Errorf("it watches")
			}
			return nil
		})
	}
	k.leads()      // also one that was started at the very end
	k.scene.told() // still, whatever a replica wrote that was let on
	for i, p := range k.procs {
		if i == 0 && k.halted() {
			p.kill()
		}
		if p.ended() {
			continue
		}
		if code := p.stop(); code != 0 && !deposedSays(p) {
			k.wrong = append(k.wrong, fmt.Sprintf("process %d ended with %d:\n%s", i, code, tail(p.log.String(), 1500)))
		}
	}
}

// sends are the messages that khook sent, over all its processes: the contexts for each message ID.
func (k *supervisor) sends() map[string][]string {
	found := map[string][]string{}
	for _, file := range k.files {
		for _, p := range readPoints(file) {
			if id, session, ok := strings.Cut(p.detail, " "); ok {
				found[id] = append(found[id], session)
			}
		}
	}
	return found
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// reached is a point that a process came to, and what it had to say of it.
type reached struct{ point, detail string }

func readPoints(file string) []reached {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	var all []reached
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		point, detail, _ := strings.Cut(lines.Text(), "\t")
		all = append(all, reached{point, detail})
	}
	return all
}

// letElect lets khook elect its leader in a namespace, by the generated role.
func letElect(t testing.TB, ns string) {
	t.Helper()
	var role rbacv1.Role
	if err := testCluster.client.Get(t.Context(), client.ObjectKey{Namespace: "kagent", Name: "khook"}, &role); err != nil {
		t.Fatal(err)
	}
	for _, obj := range []client.Object{
		&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "khook"}, Rules: role.Rules},
		&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "khook"}, Subjects: []rbacv1.Subject{{Kind: "User", Name: "khook", APIGroup: rbacv1.GroupName}},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "khook"}},
	} {
		if err := testCluster.client.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
}
