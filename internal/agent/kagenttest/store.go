package kagenttest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"github.com/a2aproject/a2a-go/v2/a2a"
	"github.com/a2aproject/a2a-go/v2/a2asrv"
	"github.com/a2aproject/a2a-go/v2/a2asrv/taskstore"
)

// taskStore is the server's task store: bounded, each task as much its caller's own as the dialect says, and able to forget.
type taskStore struct {
	shared func(context.Context) bool // anybody may read and change all tasks

	mu    sync.Mutex
	limit int
	next  int
	byID  map[a2a.TaskID]*stored
	order []a2a.TaskID // the oldest first
}

type stored struct {
	raw     []byte // as JSON: nobody else can change it
	context string
	user    string
	version taskstore.TaskVersion
	number  int
}

func newTasks(limit int, shared func(context.Context) bool) *taskStore {
	return &taskStore{limit: limit, shared: shared, byID: map[a2a.TaskID]*stored{}}
}

var errNotTheirs = fmt.Errorf("not authorized: the task is another user's: %w", a2a.ErrUnauthorized)

// find returns a task that the user may see. It must be called with the lock held.
func (t *taskStore) find(ctx context.Context, id a2a.TaskID, user string) (*stored, error) {
	found := t.byID[id]
	switch {
	case found == nil:
		return nil, a2a.ErrTaskNotFound
	case found.user != user && !t.shared(ctx):
		return nil, errNotTheirs
	}
	return found, nil
}

func caller(ctx context.Context) string {
	if call, ok := a2asrv.CallContextFrom(ctx); ok && call.User != nil {
		return call.User.Name
	}
	return ""
}

// Create implements taskstore.Store.
func (t *taskStore) Create(ctx context.Context, task *a2a.Task) (taskstore.TaskVersion, error) {
	raw, err := json.Marshal(task)
	if err != nil {
		return taskstore.TaskVersionMissing, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byID[task.ID] != nil {
		return taskstore.TaskVersionMissing, taskstore.ErrTaskAlreadyExists
	}
	if len(t.order) >= t.limit {
		delete(t.byID, t.order[0])
		t.order = t.order[1:]
	}
	t.next++
	t.order = append(t.order, task.ID)
	t.byID[task.ID] = &stored{raw: raw, context: task.ContextID, user: caller(ctx), version: 1, number: t.next}
	return 1, nil
}

// Update implements taskstore.Store.
func (t *taskStore) Update(ctx context.Context, u *taskstore.UpdateRequest) (taskstore.TaskVersion, error) {
	raw, err := json.Marshal(u.Task)
	if err != nil {
		return taskstore.TaskVersionMissing, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	was, err := t.find(ctx, u.Task.ID, caller(ctx))
	if err != nil {
		return taskstore.TaskVersionMissing, err
	}
	if u.PrevVersion != taskstore.TaskVersionMissing && u.PrevVersion != was.version {
		return taskstore.TaskVersionMissing, taskstore.ErrConcurrentModification
	}
	now := *was
	now.raw, now.version = raw, was.version+1
	t.byID[u.Task.ID] = &now
	return now.version, nil
}

// Get implements taskstore.Store.
func (t *taskStore) Get(ctx context.Context, id a2a.TaskID) (*taskstore.StoredTask, error) {
	t.mu.Lock()
	found, err := t.find(ctx, id, caller(ctx))
	t.mu.Unlock()
	if err != nil {
		return nil, err
	}
	task, err := found.task()
	return &taskstore.StoredTask{Task: task, Version: found.version, User: found.user}, err
}

// List implements taskstore.Store: all tasks of a context, the newest first, on one page.
func (t *taskStore) List(ctx context.Context, q *a2a.ListTasksRequest) (*a2a.ListTasksResponse, error) {
	found, err := t.ofContext(ctx, q.ContextID, caller(ctx))
	slices.Reverse(found)
	return &a2a.ListTasksResponse{Tasks: found, TotalSize: len(found), PageSize: max(len(found), 1)}, err
}

// ofContext returns the tasks of a context, the oldest first. Where tasks are their users' own, so is a context.
func (t *taskStore) ofContext(ctx context.Context, contextID, user string) ([]*a2a.Task, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var found []*stored
	for _, s := range t.byID {
		if s.context != contextID {
			continue
		}
		if found = append(found, s); s.user != user && !t.shared(ctx) {
			return nil, errNotTheirs
		}
	}
	slices.SortFunc(found, func(a, b *stored) int { return cmp.Compare(a.number, b.number) })
	all := []*a2a.Task{}
	for _, s := range found {
		task, err := s.task()
		if err != nil {
			return nil, err
		}
		all = append(all, task)
	}
	return all, nil
}

func (t *taskStore) byOwner(ctx context.Context, id, user string) (*a2a.Task, error) {
	t.mu.Lock()
	found, err := t.find(ctx, a2a.TaskID(id), user)
	t.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return found.task()
}

func (t *taskStore) remove(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byID, a2a.TaskID(id))
	t.order = slices.DeleteFunc(t.order, func(o a2a.TaskID) bool { return string(o) == id })
}

func (s *stored) task() (*a2a.Task, error) {
	task := &a2a.Task{}
	return task, json.Unmarshal(s.raw, task)
}

// withoutNulls copies a message without the null values in its data, which the SDK can't copy.
func withoutNulls(m *a2a.Message) *a2a.Message {
	copied := *m
	copied.Parts = slices.Clone(m.Parts)
	for i, p := range copied.Parts {
		if p.Data() != nil {
			part := *p
			part.Content = a2a.Data{Value: denull(p.Data())}
			copied.Parts[i] = &part
		}
	}
	return &copied
}

func denull(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, value := range v {
			if value != nil {
				out[key] = denull(value)
			}
		}
		return out
	case []any:
		out := make([]any, 0, len(v))
		for _, value := range v {
			if value != nil {
				out = append(out, denull(value))
			}
		}
		return out
	}
	return v
}
