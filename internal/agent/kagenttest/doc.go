// Package kagenttest is a kagent for tests and demonstrations: a real A2A server, in both versions
// of the protocol, behind routes, headers and refusals shaped like those of kagent's versions. Its
// agents do what a script says, and it records what they really received.
//
// It can be switched to another dialect while it runs, as an upgrade of kagent would. Like kagent
// it runs a message twice when it is sent twice, except in the dialect of kagent 1.0.
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
//	tasks after SetDialect                            stay                    stay        stay    kinder than it is: see Vanish
//	an approval                                       data part               extension   extension run; 1.x read
//
// Not yet as the real one: looks at unknown tasks say "task not found" and not -32603, approval IDs are not checked, and a task whose agent
// died is made by Act.Never. Faults are injected by Inject for those.
package kagenttest
