// Package api holds the JSON of the HTTP API: the types that the server writes and that clients, such as the
// command line, read, and the conversions from what khook keeps. docs/openapi.yaml is generated from these types.
//
// The names of the JSON properties are a promise to users. The package knows neither HTTP nor the store, and it
// decides nothing: who may see what is decided before, by the server.
package api
