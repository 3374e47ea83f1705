package caddyauth

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

// IdentityHeaders are the request headers that tell applications who is
// signed in.
type IdentityHeaders struct {
	// The header with the user name. Default: Remote-User
	User string `json:"user,omitempty"`

	// The header with the display name. Default: Remote-Name
	Name string `json:"name,omitempty"`

	// The header with the e-mail address. Default: Remote-Email
	Email string `json:"email,omitempty"`

	// The header with the groups. Default: Remote-Groups
	Groups string `json:"groups,omitempty"`

	// Sets no headers. What clients send under the default names is removed
	// all the same. Default: false
	Off bool `json:"off,omitempty"`
}

// defaultIdentityHeaders is what a gate sets where nothing else is configured.
// Their names are stripped always: an application may trust them however this
// site is configured today.
func defaultIdentityHeaders() IdentityHeaders {
	return IdentityHeaders{User: "Remote-User", Name: "Remote-Name", Email: "Remote-Email", Groups: "Remote-Groups"}
}

// compile fills in the defaults and checks the names.
func (i IdentityHeaders) compile() (IdentityHeaders, error) {
	defaults := defaultIdentityHeaders()
	fields := []struct{ name, otherwise *string }{
		{&i.User, &defaults.User},
		{&i.Name, &defaults.Name},
		{&i.Email, &defaults.Email},
		{&i.Groups, &defaults.Groups},
	}
	var folded []string
	for _, field := range fields {
		if *field.name == "" {
			*field.name = *field.otherwise
		}
		name := *field.name
		if !isToken(name) || strings.ContainsAny(name, "_.") {
			return i, fmt.Errorf("identity_headers: %q is not a header name that Caddy and CGI servers pass on: use letters, digits and hyphens", name)
		}
		fold := foldHeader(name)
		if isReservedHeader(fold) {
			return i, fmt.Errorf("identity_headers: %q has a meaning of its own", name)
		}
		if slices.Contains(folded, fold) {
			return i, fmt.Errorf("identity_headers: %q is named twice", name)
		}
		folded = append(folded, fold)
		*field.name = http.CanonicalHeaderKey(name)
	}
	return i, nil
}

// names returns the four header names.
func (i IdentityHeaders) names() []string { return []string{i.User, i.Name, i.Email, i.Groups} }

// isReservedHeader tells whether requests would break if a header of this folded
// name carried an identity or was removed.
func isReservedHeader(folded string) bool {
	if strings.HasPrefix(folded, "sec-") || strings.HasPrefix(folded, "access-control-") {
		return true
	}
	return slices.Contains([]string{
		"accept", "authorization", "connection", "content-encoding", "content-length", "content-type", "cookie",
		"expect", "forwarded", "host", "keep-alive", "origin", "proxy-authorization", "range", "referer", "te",
		"trailer", "transfer-encoding", "upgrade", "user-agent", "via", "x-csrftoken", "x-forwarded-for",
		"x-forwarded-host", "x-forwarded-proto",
	}, folded)
}

// stripper removes client-sent headers that an application could take for
// ours. CGI-like servers map every character but letters and digits to one, so
// names are compared after the same folding: Remote_User, Remote.User and
// Remote--User are Remote-User.
type stripper struct {
	folded []string

	// letters has a bit for each first letter of folded: most headers differ
	// there already.
	letters uint32
}

// newStripper returns a stripper of names.
func newStripper(names []string) *stripper {
	s := &stripper{}
	for _, name := range names {
		if fold := foldHeader(name); !slices.Contains(s.folded, fold) {
			s.folded = append(s.folded, fold)
			s.letters |= letterBit(fold[0])
		}
	}
	return s
}

// letterBit is the bit of a letter, and every bit for anything else: a digit, or
// a separator that says nothing yet.
func letterBit(c byte) uint32 {
	if c |= 0x20; 'a' <= c && c <= 'z' {
		return 1 << (c - 'a')
	}
	return ^uint32(0)
}

// strip removes identity headers from the headers and the trailers of a request.
func (s *stripper) strip(r *http.Request) {
	for name := range r.Header {
		if s.matches(name) {
			delete(r.Header, name)
		}
	}
	if r.Trailer != nil {
		s.stripTrailers(r)
	}
}

// matches compares a header name with the folded names without building its
// folded form.
func (s *stripper) matches(name string) bool {
	if name == "" || letterBit(name[0])&s.letters == 0 {
		return false
	}
	for _, folded := range s.folded {
		if len(name) >= len(folded) && foldsTo(name, folded) {
			return true
		}
	}
	return false
}

// stripTokens removes identity headers from a comma-separated list of header
// names.
func (s *stripper) stripTokens(h http.Header, key string, values []string) {
	found := false
	for _, value := range values {
		for token := range strings.SplitSeq(value, ",") {
			found = found || s.matches(trimOWS(token))
		}
	}
	if !found {
		return
	}
	var kept []string
	for _, value := range values {
		for token := range strings.SplitSeq(value, ",") {
			if token = trimOWS(token); token != "" && !s.matches(token) {
				kept = append(kept, token)
			}
		}
	}
	if len(kept) == 0 {
		delete(h, key)
		return
	}
	h[key] = []string{strings.Join(kept, ", ")}
}

// stripTrailers removes identity headers from the declared trailers, and once
// more when the body has been read: net/http adds whatever the client sent by
// then, declared or not.
func (s *stripper) stripTrailers(r *http.Request) {
	s.stripMap(r.Trailer)
	if values, ok := r.Header["Trailer"]; ok {
		s.stripTokens(r.Header, "Trailer", values)
	}
	if r.Body != nil {
		r.Body = &trailerBody{ReadCloser: r.Body, stripper: s, trailer: r.Trailer}
	}
}

func (s *stripper) stripMap(h http.Header) {
	for name := range h {
		if s.matches(name) || claimOf(name) != noClaim || strings.EqualFold(name, "Cookie") { // it may hold the session's
			delete(h, name)
		}
	}
}

// trailerBody strips the trailers as soon as they arrive.
type trailerBody struct {
	io.ReadCloser
	stripper *stripper
	trailer  http.Header
}

func (b *trailerBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.stripper.stripMap(b.trailer)
	}
	return n, err
}

// claim is what a header says in the name of some proxy: applications that
// believe it from a proxy would believe it from a client.
type claim int

const (
	noClaim       claim = iota
	identityClaim       // who is signed in
	pathClaim           // what was asked for, before a proxy changed it
	addressClaim        // where the request comes from
)

// claimOf looks for the names that other sign-in proxies and frameworks use, in
// every spelling. Caddy itself rebuilds X-Forwarded-For, -Proto and -Host, and
// passes these on.
func claimOf(name string) claim {
	switch name {
	case "", "X-Csrftoken", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Requested-With":
		return noClaim // the usual ones
	}
	if letterBit(name[0])&(letterBit('f')|letterBit('x')) == 0 {
		return noClaim
	}
	for _, folded := range [...]string{
		"x-forwarded-user", "x-forwarded-email", "x-forwarded-groups", "x-forwarded-preferred-username",
		"x-auth-request-user", "x-auth-request-email", "x-auth-request-groups", "x-auth-request-preferred-username",
		"x-remote-user", "x-remote-name", "x-remote-email", "x-remote-group", "x-remote-groups",
		"x-webauth-user", "x-webauth-name", "x-webauth-email", "x-webauth-groups",
	} {
		if foldsTo(name, folded) {
			return identityClaim
		}
	}
	for _, folded := range [...]string{
		"x-original-url", "x-original-uri", "x-original-method", "x-rewrite-url", "x-forwarded-uri", "x-forwarded-path", "x-forwarded-method", "x-forwarded-prefix",
	} {
		if foldsTo(name, folded) {
			return pathClaim
		}
	}
	if foldsTo(name, "forwarded") || foldsTo(name, "x-real-ip") {
		return addressClaim
	}
	return noClaim
}

// stripClaims removes what a client says in the name of a proxy. What Caddy's
// trusted_proxies say of paths and addresses stays; who is signed in, nobody
// tells but us.
func stripClaims(r *http.Request) {
	for name, values := range r.Header {
		claim := claimOf(name)
		if claim == noClaim || claim != identityClaim && peerIsTrustedProxy(r) {
			continue
		}
		delete(r.Header, name)
		if claim == addressClaim && r.Header["X-Forwarded-For"] == nil {
			// That there is a proxy forbids a sign-in over plain HTTP. Nobody
			// believes the address: Caddy puts the peer's in its place.
			r.Header["X-Forwarded-For"] = values
		}
	}
}

// foldHeader returns the folded form of a header name: lower case, every run
// of other characters than letters and digits one hyphen, none at the ends.
func foldHeader(name string) string {
	folded := make([]byte, 0, len(name))
	for i := range len(name) {
		c := name[i]
		switch {
		case 'A' <= c && c <= 'Z':
			folded = append(folded, c+'a'-'A')
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
			folded = append(folded, c)
		default:
			if len(folded) > 0 && folded[len(folded)-1] != '-' {
				folded = append(folded, '-')
			}
		}
	}
	return strings.TrimSuffix(string(folded), "-")
}

// foldsTo is foldHeader(name) == folded, without the copy.
func foldsTo(name, folded string) bool {
	at, pending := 0, false // pending: a separator was seen and not matched yet
	for i := range len(name) {
		c := name[i]
		switch {
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		default:
			pending = at > 0
			continue
		}
		if pending {
			if at >= len(folded) || folded[at] != '-' {
				return false
			}
			at++
			pending = false
		}
		if at >= len(folded) || folded[at] != c {
			return false
		}
		at++
	}
	return at == len(folded)
}

// headerText makes a directory's text fit for a header: no control characters,
// at most 1 KiB.
func headerText(s string) string {
	const limit = 1024
	if len(s) <= limit && !strings.ContainsFunc(s, isControl) {
		return s
	}
	s = strings.Map(func(c rune) rune {
		if isControl(c) {
			return -1
		}
		return c
	}, s)
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "")
	}
	return strings.TrimSpace(s)
}

func isControl(c rune) bool { return c < 0x20 || c >= 0x7f && c < 0xa0 }

// trimOWS removes optional white space (RFC 9110 section 5.6.3) at both ends.
func trimOWS(s string) string {
	for len(s) > 0 && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for len(s) > 0 && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}
