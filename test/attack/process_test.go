//go:build attack

package attack

import (
	"bytes"
	"cmp"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// khook is a running process of the program.
type khook struct {
	cmd                  *exec.Cmd
	api, metrics, health string // addresses
	log                  *logTail
	done                 chan struct{}
	wanted               atomic.Bool // its end
	up                   atomic.Bool // it was ready once
}

// program is the khook that is attacked.
func khookProgram() string {
	path, err := filepath.Abs(cmp.Or(os.Getenv("KHOOK"), filepath.Join("..", "..", "bin", "khook")))
	if err != nil {
		panic(err) // without a working directory
	}
	return path
}

// has says whether the program has a flag.
var flagsOfProgram = sync.OnceValue(func() string {
	out, _ := exec.Command(khookProgram(), "controller", "--help").CombinedOutput()
	return string(out)
})

func has(flag string) bool { return strings.Contains(flagsOfProgram(), flag) }

// launch starts khook within the bounds, with the history in a folder.
func (s *site) launch(dir string, args ...string) (*khook, error) {
	k := &khook{api: freeAddress(), metrics: freeAddress(), health: freeAddress(), log: &logTail{}, done: make(chan struct{})}
	all := []string{
		"controller", "--kubeconfig", s.kubeconfig, "--no-leader-elect", "--database", filepath.Join(dir, "khook.db"),
		"--api-bind-address", k.api, "--metrics-bind-address", k.metrics, "--health-probe-bind-address", k.health,
		"--kagent-url", s.kagent.url, "--stabilization", "1h", "--agent-check-every", "5s",
	}
	if has("--trusted-proxies") { // so that addresses of the loopback tell clients apart, see address
		all = append(all, "--trusted-proxies", "127.0.0.0/8")
	}
	k.cmd = s.bounds.command(khookProgram(), append(all, args...)...)
	k.cmd.Stdout, k.cmd.Stderr = k.log, k.log
	if err := k.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start khook: %w", err)
	}
	go s.watch(k)
	go func() {
		_ = k.cmd.Wait()
		close(k.done)
		if !k.wanted.Load() {
			s.died(k)
		}
	}()
	return k, nil
}

func (k *khook) pid() int { return k.cmd.Process.Pid }

// watch notes the most memory that a process has, until it ends, and ends it where nothing else keeps
// the bounds.
func (s *site) watch(k *khook) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-k.done:
			return
		case <-tick.C:
			s.weigh(k)
		}
	}
}

func (s *site) weigh(k *khook) {
	most, own, err := resident(k.pid())
	if err != nil {
		return
	}
	s.mu.Lock()
	s.peak = max(s.peak, most)
	s.mu.Unlock()
	if s.bounds.kill && own > memoryLimit {
		_ = k.cmd.Process.Kill()
	}
}

// forgetPeak begins a new measurement of the most memory, where the kernel can.
func (s *site) forgetPeak() {
	s.bounds.forget(s.khook.pid())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peak = 0
}

// peakMemory is the most that a khook had since forgetPeak, in bytes.
func (s *site) peakMemory() int64 {
	s.weigh(s.khook)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peak
}

func (k *khook) alive() bool {
	select {
	case <-k.done:
		return false
	default:
		return true
	}
}

// stop ends the process as Kubernetes would.
func (k *khook) stop() {
	k.wanted.Store(true)
	_ = k.cmd.Process.Signal(os.Interrupt)
	select {
	case <-k.done:
	case <-time.After(time.Minute):
		_ = k.cmd.Process.Kill()
		<-k.done
	}
}

// ready returns nil when khook does its work.
func (k *khook) ready() error {
	if !k.alive() {
		return fmt.Errorf("khook ended: %s", k.cmd.ProcessState)
	}
	c := http.Client{Timeout: 5 * time.Second}
	resp, err := c.Get("http://" + k.health + "/readyz")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("khook is not ready: %s", resp.Status)
	}
	return nil
}

func (s *site) died(k *khook) {
	s.deaths.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.death = fmt.Sprintf("%s; its last words: %s", k.cmd.ProcessState, k.log.panicOrEnd())
}

func (s *site) lastDeath() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.death
}

// revive starts khook again if it died.
func (s *site) revive(t testing.TB) {
	t.Helper()
	if s.khook != nil && s.khook.alive() {
		return
	}
	s.begin(t)
}

// restart stops khook and starts it, as an upgrade does.
func (s *site) restart(t testing.TB) {
	t.Helper()
	s.khook.stop()
	s.begin(t)
}

func (s *site) begin(t testing.TB) {
	t.Helper()
	k, err := s.launch(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.khook = k
	s.mu.Unlock()
	await(t, "khook is ready", k.ready)
	k.up.Store(true)
}

// base is the URL of the API of the khook that runs now.
func (s *site) base() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return "http://" + s.khook.api + "/api/v1"
}

// logTail keeps the last of a log, and counts its lines.
type logTail struct {
	lines atomic.Int64

	mu   sync.Mutex
	text []byte
}

// maxTail bounds what is kept, in bytes.
const maxTail = 256 << 10

// Write implements io.Writer.
func (l *logTail) Write(p []byte) (int, error) {
	l.lines.Add(int64(bytes.Count(p, []byte{'\n'})))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	if over := len(l.text) - maxTail; over > 0 {
		l.text = append(l.text[:0], l.text[over:]...)
	}
	return len(p), nil
}

// panicOrEnd is why Go ended the process, else the end of the log.
func (l *logTail) panicOrEnd() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := string(l.text)
	for _, words := range []string{"fatal error: ", "panic: ", "runtime: out of memory"} {
		if i := strings.LastIndex(text, words); i >= 0 {
			return text[i:min(len(text), i+300)]
		}
	}
	return text[max(0, len(text)-300):]
}

var lastPort atomic.Int32

// freeAddress is one below the ports that the system gives to clients, so that nobody takes it meanwhile.
func freeAddress() string {
	for {
		address := fmt.Sprintf("127.0.0.1:%d", 18000+(int(lastPort.Add(1))+os.Getpid()*7)%12000)
		if l, err := net.Listen("tcp", address); err == nil {
			l.Close()
			return address
		}
	}
}

// patience is how long a condition is awaited.
const patience = 4 * time.Minute

// await waits until a check returns nil.
func await(t testing.TB, what string, check func() error) {
	t.Helper()
	if err := poll(patience, check); err != nil {
		t.Fatalf("waited in vain until %s: %v", what, err)
	}
}

func poll(limit time.Duration, check func() error) error {
	for deadline := time.Now().Add(limit); ; time.Sleep(100 * time.Millisecond) {
		if err := check(); err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// halted says that khook is being stopped and started on purpose: who asks then is no judge.
func (s *site) halted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.khook.wanted.Load() || !s.khook.up.Load()
}
