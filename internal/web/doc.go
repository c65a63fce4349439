// Package web has the dashboard: the files that are built from the folder web, embedded, and what serves them.
//
// It must not know anything of the history or of who asks: the files are the same for everybody, and hold nothing of a
// cluster. What the page shows it reads from the HTTP API, with the rights of the person who looks at it.
package web
