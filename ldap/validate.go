package ldap

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// attributeName is an attribute description without options (RFC 4512 1.4).
var attributeName = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9-]*|[0-9]+(\.[0-9]+)+)$`)

// server is one entry of Config.Servers, read.
type server struct {
	url      string
	host     string // as certificates must name it
	address  string // host:port to dial
	implicit bool   // ldaps
	startTLS bool
}

// validate reads config's servers and refuses what could not work, or not
// safely. Error texts name the option as the Caddyfile spells it.
func validate(config Config) ([]server, error) {
	if config.Logger == nil {
		return nil, errors.New("checking directory: Logger is nil")
	}
	if config.Label == "" {
		return nil, errors.New("checking directory: the label is empty: write directory <domain>")
	}
	if !utf8.ValidString(config.Label) || strings.ContainsFunc(config.Label, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune(`@\/`, r)
	}) {
		return nil, fmt.Errorf(`checking directory: label %q has a space or one of @ \ /: write the domain, like corp.example.com`, config.Label)
	}
	servers, err := config.check()
	if err != nil {
		return nil, fmt.Errorf("checking directory %q: %w", config.Label, err)
	}
	return servers, nil
}

func (c Config) check() ([]server, error) {
	switch c.Kind {
	case KindAuto, KindAD, KindGeneric:
	default:
		return nil, fmt.Errorf("kind %q is unknown: write ad or generic", c.Kind)
	}
	if len(c.Servers) == 0 {
		return nil, errors.New("servers is empty: write servers ldaps://<host>")
	}
	servers := make([]server, len(c.Servers))
	for i, raw := range c.Servers {
		s, err := c.parseServer(raw)
		if err != nil {
			return nil, err
		}
		servers[i] = s
	}
	switch {
	case c.BindUser == "" && c.BindPassword != "":
		return nil, errors.New("bind has a password but no user: write bind <user> <password>")
	case c.BindUser != "" && c.BindPassword == "":
		return nil, fmt.Errorf("bind %q has no password: write bind <user> <password>", c.BindUser)
	case c.BindUser != "" && !cleanLine(c.BindUser):
		return nil, fmt.Errorf("bind %q has control characters or is not UTF-8", c.BindUser)
	case strings.ContainsRune(c.BindPassword, 0):
		return nil, fmt.Errorf("bind %q has a password with a NUL, which directories cut it at", c.BindUser)
	case c.Kind == KindGeneric && c.BindUser == "":
		return nil, errors.New("bind is missing: a generic directory needs a service account to find users: write bind <dn> <password>")
	case c.Kind == KindGeneric && !isDN(c.BindUser):
		return nil, fmt.Errorf("bind %q is no DN, which a generic directory needs: write bind <dn> <password>", c.BindUser)
	}
	for _, option := range []struct{ name, dn string }{{"base_dn", c.BaseDN}, {"group_base", c.GroupBase}} {
		if option.dn == "" {
			continue
		}
		if _, err := NormalizeDN(option.dn); err != nil {
			return nil, fmt.Errorf("%s %q is no DN, like dc=corp,dc=example: %w", option.name, option.dn, err)
		}
	}
	if c.UserFilter != "" {
		if err := checkUserFilter(c.UserFilter); err != nil {
			return nil, fmt.Errorf("user_filter %q: %w", c.UserFilter, err)
		}
	}
	if c.EmailAttribute != "" && c.EmailAttribute != noAttribute && !attributeName.MatchString(c.EmailAttribute) {
		return nil, fmt.Errorf("email_attribute %q is no attribute name: write one like mail", c.EmailAttribute)
	}
	if len(c.Groups) > maxGroupRefs {
		return nil, fmt.Errorf("the configuration names %d groups, more than %d", len(c.Groups), maxGroupRefs)
	}
	for _, ref := range c.Groups {
		if _, err := parseGroupRef(ref); err != nil {
			return nil, err
		}
	}
	return servers, nil
}

func (c Config) parseServer(raw string) (server, error) {
	const cure = "write ldaps://<host>[:<port>]"
	shown := withoutUserinfo(raw)
	u, err := url.Parse(raw)
	if err != nil {
		// url.Error repeats the URL, and with it a password that may be in it.
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err
		}
		return server{}, fmt.Errorf("servers %q is no URL: %s: %w", shown, cure, err)
	}
	scheme := strings.ToLower(u.Scheme)
	if scheme != "ldap" && scheme != "ldaps" {
		return server{}, fmt.Errorf("servers %q has another scheme than ldaps or ldap: %s", shown, cure)
	}
	host := u.Hostname()
	if host == "" {
		return server{}, fmt.Errorf("servers %q has no host: %s", shown, cure)
	}
	if u.User != nil || u.Path != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Opaque != "" {
		return server{}, fmt.Errorf("servers %q has more than a host and a port: %s", shown, cure)
	}
	port := u.Port()
	if port == "" {
		port = "389"
		if scheme == "ldaps" {
			port = "636"
		}
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return server{}, fmt.Errorf("servers %q has no valid port: %s", shown, cure)
	}
	if scheme == "ldaps" && c.StartTLS {
		return server{}, fmt.Errorf("start_tls does not go with servers %q, which is encrypted already: remove start_tls or write ldap://", shown)
	}
	if scheme == "ldap" && !c.StartTLS && !c.InsecurePlaintext && !isLoopback(host) {
		return server{}, fmt.Errorf("servers %q would send passwords readable over the network: write ldaps://, or add start_tls, or insecure_plaintext", shown)
	}
	s := server{url: raw, host: host, address: net.JoinHostPort(host, port), implicit: scheme == "ldaps", startTLS: c.StartTLS}
	if c.ServerName != "" {
		s.host = c.ServerName
	}
	return s, nil
}

// isLoopback takes names by their text only: what a resolver says of another
// name may change after the check.
func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// withoutUserinfo makes a URL that may hold a password by mistake fit for an
// error text, even one that does not parse.
func withoutUserinfo(raw string) string {
	at := strings.LastIndexByte(raw, '@')
	if at < 0 {
		return raw
	}
	start := 0
	if i := strings.Index(raw, "://"); i >= 0 && i < at {
		start = i + len("://")
	}
	return raw[:start] + "…" + raw[at:]
}
