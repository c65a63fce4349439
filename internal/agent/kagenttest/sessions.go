package kagenttest

import (
	"encoding/json"
	"net/http"
	"sync"

	"github.com/a2aproject/a2a-go/v2/a2acompat/a2av0"
)

// sessionStore are those of the REST routes up to 0.10, with their names and owners.
type sessionStore struct {
	mu    sync.Mutex
	limit int
	names map[string]string // by user and ID
	order []string
}

func newSessions(limit int) *sessionStore {
	return &sessionStore{limit: limit, names: map[string]string{}}
}

func (s *sessionStore) put(id, user, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := user + " " + id
	if _, ok := s.names[key]; !ok {
		if len(s.order) >= s.limit {
			delete(s.names, s.order[0])
			s.order = s.order[1:]
		}
		s.order = append(s.order, key)
	}
	s.names[key] = name
}

// touch makes a session that is missing, as agents do.
func (s *sessionStore) touch(id, user string) {
	if _, ok := s.get(id, user); !ok {
		s.put(id, user, "")
	}
}

func (s *sessionStore) get(id, user string) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, ok := s.names[user+" "+id]
	return name, ok
}

// SessionName returns the name that a session of the user was given, and whether there is one.
func (s *Server) SessionName(id, user string) (string, bool) { return s.rest.get(id, user) }

func (s *Server) postSession(w http.ResponseWriter, r *http.Request) {
	var body struct {
		AgentRef string `json:"agent_ref"`
		ID       string `json:"id"`
		Name     string `json:"name"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.AgentRef == "" {
		writeJSON(w, http.StatusBadRequest, map[string]any{"error": "Invalid request body: agent_ref is required"})
		return
	}
	s.rest.put(body.ID, callerOf(r.Context()), body.Name)
	writeJSON(w, http.StatusCreated, map[string]any{
		"error": false, "message": "Successfully created session",
		"data": map[string]any{"id": body.ID, "name": body.Name, "user_id": callerOf(r.Context())},
	})
}

func (s *Server) sessionTasks(w http.ResponseWriter, r *http.Request, id string) {
	if _, ok := s.rest.get(id, callerOf(r.Context())); !ok {
		writeJSON(w, http.StatusNotFound, map[string]any{"error": "Session not found for given ID: record not found"})
		return
	}
	tasks, err := s.tasks.ofContext(r.Context(), id, callerOf(r.Context()))
	if err != nil {
		writeJSON(w, http.StatusInternalServerError, map[string]any{"error": "Failed to get session tasks: " + err.Error()})
		return
	}
	if len(tasks) == 0 {
		writeJSON(w, http.StatusOK, map[string]any{"error": false, "message": "Successfully retrieved session tasks"})
		return
	}
	legacy := make([]any, len(tasks))
	for i, t := range tasks {
		legacy[i] = a2av0.FromV1Task(t)
	}
	writeJSON(w, http.StatusOK, map[string]any{"error": false, "data": legacy, "message": "Successfully retrieved session tasks"})
}

func (s *Server) storedTask(w http.ResponseWriter, r *http.Request, id string) {
	task, err := s.tasks.byOwner(r.Context(), id, callerOf(r.Context()))
	if err != nil {
		writeJSON(w, http.StatusNotFound, map[string]any{"error": "Task not found: record not found"})
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"error": false, "data": a2av0.FromV1Task(task), "message": "Successfully retrieved task"})
}
