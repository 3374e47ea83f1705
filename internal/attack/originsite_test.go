package attack

import (
	"net/http"
	"strings"
	"testing"
)

// The list that Django was measured with (a local application, an exact name,
// a wildcard), and a neighbour's page.
const (
	originTrusted = "https://app.trusted.test"
	originList    = "trusted_origins http://localhost " + originTrusted + " https://*.wild.test"
	originEvil    = "https://evil.example"
)

// originSchemes runs a test on a site of each scheme: browsers send other
// headers over TLS, and the own origin is another one.
func originSchemes(t *testing.T, run func(t *testing.T, s *site)) {
	t.Helper()
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			run(t, start(t, setup{auth: originList, tls: scheme == "https"}))
		})
	}
}

// originGate is a request that passes the origin gate, and how the answer shows
// what the gate decided. Nothing is signed in or out by it: the gate comes
// first, and what it lets pass is refused for another reason.
type originGate struct {
	name, method, path, body string
	fields                   []string
	passed                   int // the status of what the gate lets pass
}

// originGates are the gates of a site; the session, which may be nil, is for
// those that ask for one.
func originGates(s *session) []originGate {
	gates := []originGate{
		{"sign-in by JSON", "POST", "/api/login-ldap/", "{", []string{"Content-Type", "application/json"}, 400},
		{"sign-in by JSON at the page", "POST", "/accounts/login/", "{", []string{"Content-Type", "application/json"}, 400},
		{"sign-in by form", "POST", "/accounts/login/", "x", []string{"Content-Type", "multipart/form-data; boundary=b"}, 400},
		{"sign-out by GET", "GET", "/api/logout/", "", nil, 200},
		{"sign-out by POST", "POST", "/api/logout/", "", nil, 200},
	}
	if s != nil {
		shown := []string{"Cookie", s.cookie(), "X-CSRFToken", s.csrf}
		gates = append(gates,
			originGate{"protected path", "POST", "/x", "a", shown, 200},
			originGate{"protected path, unknown method", "FOO", "/x", "a", shown, 200},
			originGate{"own sessions", "POST", "/accounts/sessions/", "{", append(shown, "Content-Type", "application/json"), 400},
		)
	}
	return gates
}

// try sends a gate's request with further header fields, and fails unless it
// passed as expected.
func (g originGate) try(t *testing.T, s *site, passes bool, fields ...string) {
	t.Helper()
	before := s.echo.Count()
	r := s.do(t, g.method, g.path, g.body, append(append([]string(nil), g.fields...), fields...)...)
	status := http.StatusForbidden
	if passes {
		status = g.passed
	}
	if r.status != status || (r.code() == "origin_not_trusted") == passes {
		t.Errorf("%s with %q: got %d %s, want %d", g.name, fields, r.status, r.body, status)
	}
	if !passes && (len(r.header["Set-Cookie"]) > 0 || s.echo.Count() != before) {
		t.Errorf("%s with %q: refused, but with the cookies %q and %d requests upstream", g.name, fields, r.header["Set-Cookie"], s.echo.Count()-before)
	}
}

// originsOf are origins and whether they may pass on a site with originList, own
// being the site's.
func originsOf(own string) map[string]bool {
	scheme, host, _ := strings.Cut(own, "://")
	other := map[string]string{"http": "https", "https": "http"}[scheme]
	name, port, _ := strings.Cut(host, ":")
	return map[string]bool{
		own:                                         true,
		"http://localhost":                          true,
		originTrusted:                               true,
		"https://a.wild.test":                       true,
		"https://a.b.wild.test":                     true,
		"https://wild.test":                         false, // Django takes the bare domain; DESIGN's wildcard means names below it
		"null":                                      false,
		"":                                          false,
		" ":                                         false,
		"http://localhost:3000":                     false,
		"http://localhost:80":                       false, // no browser sends a default port
		"https://localhost":                         false,
		"http://localhost/":                         false,
		"HTTP://LOCALHOST":                          false,
		"http://Localhost":                          false,
		"http://localhost.":                         false,
		"http://localhost.evil.test":                false,
		"http://evillocalhost":                      false,
		"http://localhost@evil.test":                false,
		"http://evil.test@localhost":                false,
		"http://a:b@localhost":                      false,
		"http://localhost#evil":                     false,
		"http://localhost?evil":                     false,
		"http:/localhost":                           false,
		"http:localhost":                            false,
		"localhost":                                 false,
		"//localhost":                               false,
		"file://localhost":                          false,
		"http://app.trusted.test":                   false,
		"https://APP.trusted.test":                  false,
		"https://app.trusted.test.":                 false,
		"https://app.trusted.test/":                 false,
		"https://app.trusted.test:443":              false,
		"https://app.trusted.test:8443":             false,
		"https://x.app.trusted.test":                false,
		"https://app.trusted.test.evil.example":     false,
		"https://evilapp.trusted.test":              false,
		"https://app.trusted.tes":                   false,
		"https://app-trusted.test":                  false,
		"https://trusted.test":                      false,
		originTrusted + ", " + originTrusted:        false,
		originTrusted + " " + originTrusted:         false,
		originTrusted + " " + originEvil:            false,
		originTrusted + `\` + "evil.example":        false,
		"chrome-extension://app.trusted.test":       false,
		"http://a.wild.test":                        false,
		"https://a.wild.test:8443":                  false,
		"https://xwild.test":                        false,
		"https://.wild.test":                        false,
		"https://*.wild.test":                       false,
		"https://a..wild.test":                      false,
		"https://A.WILD.TEST":                       false,
		"https://u@a.wild.test":                     false,
		"https://evil.example/.wild.test":           false,
		"https://evil.example#.wild.test":           false,
		"https://evil.example?.wild.test":           false,
		"https://evil.example:1.wild.test":          false,
		`https://evil.example\.wild.test`:           false,
		"https://a.wild.test.evil.example":          false,
		originEvil:                                  false,
		other + "://" + host:                        false, // the own name, as an attacker in the network can have it
		scheme + "://" + name:                       false,
		scheme + "://" + name + ":1" + port:         false,
		scheme + "://" + host + "/":                 false,
		scheme + "://" + host + ".evil.example":     false,
		scheme + "://evil.example@" + host:          false,
		scheme + "://" + host + "@evil.example":     false,
		scheme + "://" + host + "#":                 false,
		scheme + "://x." + host:                     false,
		strings.ToUpper(scheme) + "://" + host:      false,
		host:                                        false,
		scheme + "://":                              false,
		scheme + "://" + strings.Repeat("a", 10000): false,
	}
}
