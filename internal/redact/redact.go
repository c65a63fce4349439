// Package redact leaves out of texts what may be secret, before they are shown or logged.
//
// It must not let a secret through because it can't read the text: what it can't read, it leaves out. It logs nothing itself.
package redact

import "net/url"

// URL is a URL without what may be secret in it: user, password, query and fragment. It is empty if text is no URL.
func URL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}
