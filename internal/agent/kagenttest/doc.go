// Package kagenttest is a kagent for tests and demonstrations: a real A2A server, in both versions
// of the protocol, behind routes, headers and refusals shaped like those of kagent's versions. Its
// agents do what a script says, and it records what they really received.
//
// It can be switched to another dialect while it runs, as an upgrade of kagent would; a request is served by the version that it came to. Like kagent
// it runs a message twice when it is sent twice, except in the dialect of kagent 1.0.
//
// What is read of 1.x is taken to hold of 1.0-pre, the builds of August 2026, where nothing else is known of them.
//
// It says no where kagent does: a test asks for kindness explicitly. What it does, and where that is from ("run": seen on the real
// controllers 0.8.6 and 0.9.12 on 2026-11-25; "read": in kagent's source or documents):
//
//	what                                              0.5, 0.9.7              1.0-pre     1.0     source
//	cancel, unless Options.Cancels                    -32603                  -32603      -32603  read: Python agents raise NotImplementedError
//	session that does not exist, or another user's    404 {"error":"..."}     -           -       run
//	session without tasks                             200 without "data"      -           -       run
//	the same message and context twice                two runs                two runs    one     run; 1.0 read
//	a context that the client chooses                 taken                   taken       refused run; 1.0 read
//	unknown agent                                     404 text                404 text    404     run
//	unknown version                                   400 text (0.9.7)        400 text    400     run
//	the same message ID with another message          two runs                two runs    -32600  run; 1.0 read: "already used with ..."
//	get, cancel of an unknown task                    -32603 garbled          -32001      -32001  run (0.9.12); 1.x by the SDK
//	cancel of a task that has ended                   -32603 garbled          the task    the task run (0.9.12); 1.x read
//	stream of a task that has ended                   -32603 garbled          it, once    it, once run (0.9.12); 1.x read
//	stream of a task that waits for a person          -32603 garbled          it, once    it, once by the SDK's server; 1.x read
//	tasks after SetDialect                            stay                    stay        stay    kinder than it is: see Vanish
//	an approval                                       data part               extension   extension run; 1.x read
//	a reply that names other calls than those asked   taken                   -32600      -32600  read: "reply does not match ..."
//	look at a task of another user                    told                    -31403      -31403  run (0.9.12); 1.x read: "not authorized", not "not found"
//	reply, cancel and stream of such a task           taken                   -31403      -31403  up to 0.10 inferred from the look; 1.x read
//	ListTasks                                         -32601; -32004 (0.9.7)  told        told    0.3 has no such method; run (0.9.12); 1.x read
//	ListTasks of a context of another user            -                       -31403      -31403  read
//	ListTasks with a page of more than 100            -                       -32602      -32602  read: 1 to 100
//	the user, with Options.TrustedProxy               the token's "sub"       "sub"       "sub"   read (0.9): unchecked; 1.x inferred
//
// Garbled is "failed to decode response: json: cannot unmarshal ..." or, of a stream, "failed to parse SSE data: ...": kagent can't read
// what its agent's own error carries.
//
// Not as the real one, so that a test has to make it: a task whose agent died (Act.Never), an agent that can't be reached, a kagent 1.x
// that takes no messages for a moment (both by Inject, also for one agent: Fault.Agent).
package kagenttest
