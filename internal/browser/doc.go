// Package browser runs a headless Chromium for tests: the parser of addresses,
// the cookie jar and the same-origin policy that attackers and victims really
// have. No name leads out of this machine, every name below .test leads to it,
// and every certificate is accepted.
package browser
