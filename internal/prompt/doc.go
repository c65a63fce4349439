// Package prompt checks and renders the prompt templates of Hooks.
//
// A template is written in the syntax of text/template, and only its parser is used: what a template makes of an event
// is bounded in bytes, steps and nesting, whatever it says. Every value of the cluster is tainted, through every
// function and variable that it passes, and a tainted text that could be taken for an instruction is quoted between
// marks wherever it is printed. Invariants:
//
//   - A template that Parse accepts renders for every event, without an error.
//   - No rendering prints a tainted text outside of its marks, unless the operator allowed plain values and the Hook
//     asked for them: otherwise whoever writes a Pod's message writes instructions to an agent.
//
// The package knows neither Hooks nor agents.
package prompt
