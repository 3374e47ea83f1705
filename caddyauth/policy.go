package caddyauth

import (
	"fmt"
	"net/netip"

	"go.uber.org/zap"
)

// Policy says who may use a site at all, and how requests that change
// something are told from forged ones. The app holds the policy of every
// site; a handler's own option replaces the app's option of that name.
type Policy struct {
	// Origins that may call this site from a browser, each
	// `scheme://host[:port]` or `scheme://*.domain[:port]`. They get CORS
	// headers with credentials, and pass the origin check of sign-in, sign-out
	// and requests that change something. The site's own origin needs no line.
	// Ports count: `http://localhost` does not stand for
	// `http://localhost:3000`. Default: none
	TrustedOrigins []string `json:"trusted_origins,omitempty"`

	// Address ranges (CIDR, or single addresses) that may use the site at all,
	// sign-in and public paths included. `private_ranges` stands for the
	// private IPv4 and IPv6 ranges and loopback. The address is Caddy's client
	// IP, so behind a proxy `trusted_proxies` with `trusted_proxies_strict` is
	// needed. Default: every address
	TrustedIPs []string `json:"trusted_ips,omitempty"`

	// How requests other than GET, HEAD, OPTIONS and TRACE are protected
	// against forgery. `token`: the Origin must be own or trusted, and the
	// session's token must be in the X-CSRFToken header or the form field
	// csrfmiddlewaretoken. `origin`: the Origin only, for applications with
	// tokens of their own. `insecure_off`: not at all. A safe method with an
	// override (X-HTTP-Method-Override and its like, or _method in the query)
	// is protected too. Default: token
	CSRF string `json:"csrf,omitempty"`

	// Allows sign-ins over plain HTTP from other machines, which sends
	// passwords and sessions readable over the network. Default: false, which
	// allows them only from this machine itself
	InsecureHTTP bool `json:"insecure_http,omitempty"`
}

// The values of Policy.CSRF.
const (
	csrfToken  = "token"
	csrfOrigin = "origin"
	csrfOff    = "insecure_off"
)

// policy is a Policy ready for use.
type policy struct {
	origins      trustedOrigins
	ips          []netip.Prefix // nil: every address
	csrf         string
	insecureHTTP bool
}

// over returns p with what it leaves open taken from base.
func (p Policy) over(base Policy) Policy {
	if p.TrustedOrigins == nil {
		p.TrustedOrigins = base.TrustedOrigins
	}
	if p.TrustedIPs == nil {
		p.TrustedIPs = base.TrustedIPs
	}
	if p.CSRF == "" {
		p.CSRF = base.CSRF
	}
	p.InsecureHTTP = p.InsecureHTTP || base.InsecureHTTP
	return p
}

// warn names what p itself weakens.
func (p Policy) warn(logger *zap.Logger, of string) {
	if p.InsecureHTTP {
		logger.Warn("insecure_http is set: passwords and sessions may cross the network readable", zap.String("in", of))
	}
	if p.CSRF == csrfOff {
		logger.Warn("csrf insecure_off is set: other sites can make signed-in browsers change things here", zap.String("in", of))
	}
}

// compile checks p. An empty list is an error, never "everyone" or "no one":
// it is what remains of a list whose placeholders came out empty.
func (p Policy) compile() (policy, error) {
	c := policy{csrf: p.CSRF, insecureHTTP: p.InsecureHTTP}
	var err error
	if p.TrustedOrigins != nil {
		if c.origins, err = parseTrustedOrigins(p.TrustedOrigins); err != nil {
			return policy{}, err
		}
	}
	if p.TrustedIPs != nil {
		if c.ips, err = parseTrustedIPs(p.TrustedIPs); err != nil {
			return policy{}, err
		}
	}
	switch p.CSRF {
	case "":
		c.csrf = csrfToken
	case csrfToken, csrfOrigin, csrfOff:
	default:
		return policy{}, fmt.Errorf("csrf: unknown value %q: use %s, %s or %s", p.CSRF, csrfToken, csrfOrigin, csrfOff)
	}
	return c, nil
}
