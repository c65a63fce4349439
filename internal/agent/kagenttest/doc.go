// Package kagenttest is a kagent for tests and demonstrations: a real A2A server, in both versions
// of the protocol, behind routes, headers and refusals shaped like those of kagent's versions. Its
// agents do what a script says, and it records what they really received.
//
// It can be switched to another dialect while it runs, as an upgrade of kagent would. Like kagent
// it runs a message twice when it is sent twice, except in the dialect of kagent 1.0.
package kagenttest
