package delivery

// Usage counts the tokens of the language model that an agent's task took, as far as the agent told; zero if it did not.
type Usage struct {
	Total, Prompt, Completion int64
}

// Reported says whether the agent told how many tokens it used.
func (u Usage) Reported() bool { return u != Usage{} }

// After is what is known of a task's usage: u was known before, and the agent has told this now. What an agent tells is for the whole
// task so far: it replaces, and is never added, so that a task which is looked at twice counts once. It never gets less: only the
// newest messages of a long task are read.
func (u Usage) After(told Usage) Usage {
	return Usage{Total: max(u.Total, told.Total), Prompt: max(u.Prompt, told.Prompt), Completion: max(u.Completion, told.Completion)}
}
