package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"sync"
	"time"

	a2alegacy "github.com/a2aproject/a2a-go/a2a"
	"github.com/a2aproject/a2a-go/v2/a2a"
	"github.com/a2aproject/a2a-go/v2/a2acompat/a2av0"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

var refName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$`)

// validRef keeps out what would be another path of kagent's.
func validRef(ref delivery.AgentRef) bool {
	return refName.MatchString(ref.Namespace) && refName.MatchString(ref.Name)
}

// at returns the URL of a path below the base.
func (c *Client) at(elements ...string) string {
	for i, e := range elements {
		if i > 0 {
			elements[i] = url.PathEscape(e)
		}
	}
	return c.base.JoinPath(elements...).String()
}

// endpoint returns the A2A endpoint of the agent: never the one that its card tells.
func (c *Client) endpoint(p peer) string {
	return c.at(p.dialect.path, p.ref.Namespace, p.ref.Name) + p.dialect.slash
}

// get reads a path. The version header does no harm where it means nothing.
func (c *Client) get(ctx context.Context, elements ...string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.at(elements...), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set(a2a.SvcParamVersion, string(a2a.Version))
	return c.rest(req)
}

func (c *Client) rest(req *http.Request) ([]byte, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, &statusError{code: resp.StatusCode, location: resp.Header.Get("Location")}
	}
	return io.ReadAll(resp.Body)
}

// errorEnvelope is kagent's REST answer. Its error is a string, or false.
type errorEnvelope struct {
	Error json.RawMessage `json:"error"`
	Data  json.RawMessage `json:"data"`
}

// failure returns the error in the envelope, "" if there is none.
func (e errorEnvelope) failure() string {
	var text string
	if json.Unmarshal(e.Error, &text) == nil {
		return text
	}
	if string(e.Error) == "true" {
		return "unknown error"
	}
	return ""
}

// restFailure is the error that kagent's REST routes tell in a body; "" if it is none of theirs.
func restFailure(body []byte) string {
	var e errorEnvelope
	if json.Unmarshal(body, &e) != nil {
		return ""
	}
	return e.failure()
}

// unwrap returns the data of kagent's envelope, or its failure as an error.
func unwrap(body []byte) (json.RawMessage, error) {
	var e errorEnvelope
	if err := json.Unmarshal(body, &e); err != nil {
		return nil, &garbledError{reason: "kagent's answer is not JSON: " + excerpt(body)}
	}
	if failure := e.failure(); failure != "" {
		return nil, &garbledError{reason: "kagent answered: " + incident.Clean(failure, maxBegin)}
	}
	return e.Data, nil
}

// sessionTasks returns the IDs of the tasks of a session. Only kagent's own words say that there is no such session: a 404 without its
// envelope means that there is no such route, or comes from a gateway, and is an error.
func (c *Client) sessionTasks(ctx context.Context, session string) ([]string, delivery.Fate, error) {
	body, err := c.get(ctx, "api/sessions", session, "tasks")
	var status *statusError
	if errors.As(err, &status) && status.code == http.StatusNotFound {
		if status.failure != "" {
			return nil, delivery.Missing, nil
		}
		return nil, "", &Error{Kind: delivery.WrongDialect, NoEffect: true, stale: true, Reason: "kagent has no sessions any more: " + status.Error()}
	}
	if err != nil {
		return nil, "", err
	}
	data, err := unwrap(body)
	if err != nil {
		return nil, "", err
	}
	ids, err := taskIDs(data)
	return ids, delivery.Unclear, err
}

// taskIDs reads the IDs of tasks, whatever else kagent's versions tell of them.
func taskIDs(data json.RawMessage) ([]string, error) {
	var tasks []struct {
		ID string `json:"id"`
	}
	if len(data) > 0 && json.Unmarshal(data, &tasks) != nil {
		return nil, &garbledError{reason: "kagent's list of tasks can't be read: " + excerpt(data)}
	}
	var ids []string
	for _, t := range tasks {
		if !validID(t.ID) {
			return nil, &garbledError{reason: "kagent's list of tasks has a task without a usable ID"}
		}
		ids = append(ids, t.ID)
	}
	return ids, nil
}

// restTask reads a task from kagent's own store, which knows it even when its agent does not.
func (c *Client) restTask(ctx context.Context, p peer, id string) (Task, error) {
	body, err := c.get(ctx, "api/tasks", id)
	if err != nil {
		return Task{}, err
	}
	data, err := unwrap(body)
	if err != nil {
		return Task{}, err
	}
	return storedTask(data, p.dialect.name, id)
}

// storedTask reads a task as kagent stores it: in the form of 0.3, or of 1.0.
func storedTask(data json.RawMessage, dialect, id string) (Task, error) {
	var legacy a2alegacy.Task
	var task *a2a.Task
	err := json.Unmarshal(data, &legacy)
	if err == nil {
		task, err = a2av0.ToV1Task(&legacy)
	}
	if err != nil || task == nil || stateOf(task.Status.State) == Unknown {
		task = &a2a.Task{}
		err = json.Unmarshal(data, task)
	}
	if err != nil || string(task.ID) != id {
		return Task{}, &garbledError{reason: "kagent's task can't be read: " + excerpt(data)}
	}
	return convert(task, dialect, math.MaxInt) // it is stored whole
}

const (
	maxSessions  = 8               // that are named at the same time; further ones stay nameless
	sessionLimit = 2 * time.Second // for naming one
)

// sessions bounds the requests that only give a session its name, in the background.
type sessions struct {
	limiter chan struct{}
	running sync.WaitGroup
}

// name gives the session a readable name, where kagent has sessions. It neither waits nor fails:
// agents make a missing session themselves, so a name is all that is lost.
func (c *Client) name(ctx context.Context, p peer, session, title string) {
	if !p.dialect.rest || title == "" {
		return
	}
	select {
	case c.limiter <- struct{}{}:
	default:
		return
	}
	ctx = context.WithValue(context.WithoutCancel(ctx), holdKey{}, (*hold)(nil)) // it goes on beside the call
	c.running.Go(func() {
		defer func() { <-c.limiter }()
		limited, cancel := context.WithTimeout(ctx, sessionLimit)
		defer cancel()
		_ = c.postSession(limited, p.ref, session, title)
	})
}

func (c *Client) postSession(ctx context.Context, ref delivery.AgentRef, session, title string) error {
	body, err := json.Marshal(map[string]string{
		"agent_ref": ref.String(), "id": session, "name": incident.Clean(title, 200), "user_id": c.cfg.UserID,
	})
	if err != nil {
		return fmt.Errorf("encode session: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.at("api/sessions"), bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	_, err = c.rest(req)
	return err
}
