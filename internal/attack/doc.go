// Package attack holds the black-box suite: tests that attack the built Caddy
// from outside and look at the bytes that reach a raw upstream and come back on
// the wire. Each is named after the rule (R), the vulnerability of another
// product (P), the requirement (S) or the fact about Caddy (B) that
// docs/security.md lists under that id.
package attack
