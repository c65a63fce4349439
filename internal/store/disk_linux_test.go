package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

// onSmallDisk names the folder on which a child of this test mounts its disk.
const onSmallDisk = "KHOOK_TEST_SMALL_DISK"

// TestADiskThatIsReallyFullIsToldAndLosesNothing runs itself in a user namespace, where anybody
// may mount a disk of three megabytes.
func TestADiskThatIsReallyFullIsToldAndLosesNothing(t *testing.T) {
	pgtest.OnlySQLite(t)
	if dir := os.Getenv(onSmallDisk); dir != "" {
		fillDisk(t, dir)
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), onSmallDisk+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EINVAL) {
		t.Skipf("no user namespaces here: %v", err)
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if bytes.Contains(out, []byte("--- SKIP")) {
		t.Skip("nothing may be mounted here, even in a user namespace")
	}
}

func fillDisk(t *testing.T, dir string) {
	if err := errors.Join(syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""),
		syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m")); err != nil {
		t.Skip(err)
	}
	defer func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }()
	ballast, file := filepath.Join(dir, "ballast"), filepath.Join(dir, "khook.db")
	if err := os.WriteFile(ballast, make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	st := openStore(t, file)
	written := 0
	var err error
	for ; err == nil; written++ {
		err = save(t.Context(), st, fmt.Sprintf("k%d", written))
	}
	written--
	says(t, err, "the disk is full: make room")
	says(t, st.Check(t.Context()), "the disk is full: make room")
	if n := count(t, st, "events"); n != written {
		t.Errorf("%d events can be read, %d were acknowledged", n, written)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := save(t.Context(), st, fmt.Sprintf("k%d", written)); err != nil {
		t.Errorf("with room again: %v", err)
	}
	if err := errors.Join(st.Check(t.Context()), st.Close()); err != nil {
		t.Error(err)
	}
	if n := count(t, openStore(t, file), "events"); n != written+1 {
		t.Errorf("%d events after opening it again, %d were acknowledged", n, written+1)
	}
}

// asNobody runs do with the rights of a user to whom no file belongs, whoever runs the tests.
func asNobody(t *testing.T, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		for _, call := range []uintptr{syscall.SYS_SETFSGID, syscall.SYS_SETFSUID} {
			if os.Getuid() == 0 {
				_, _, _ = syscall.RawSyscall(call, 65534, 0, 0) // tells the ID of before, never an error
			}
		}
		do()
	}()
	<-done
}

func TestAFileOrFolderThatCannotBeWrittenSaysWhatToDo(t *testing.T) {
	pgtest.OnlySQLite(t)
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for at := filepath.Dir(dir); at != os.TempDir() && at != "/"; at = filepath.Dir(at) {
		if err := os.Chmod(at, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "khook.db")
	st := openStore(t, file)
	if err := errors.Join(save(t.Context(), st, "k"), st.Close(), os.Chmod(file, 0o444), os.Chmod(dir, 0o555)); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.Chmod(dir, 0o755) }()
	for name, path := range map[string]string{"a file": file, "a folder": filepath.Join(dir, "new.db")} {
		t.Run(name, func(t *testing.T) {
			asNobody(t, func() {
				st, err := Open(t.Context(), Config{Path: path})
				if err == nil {
					err = st.Check(t.Context())
					_ = st.Close()
				}
				says(t, err, "the right to write")
			})
		})
	}
}
