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
	"time"
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
	case KindAuto, KindAD, KindOpenLDAP, Kind389DS, KindGeneric:
	default:
		return nil, fmt.Errorf("kind %q is unknown: write ad, openldap, 389ds or generic", c.Kind)
	}
	if len(c.Servers) == 0 {
		if err := checkDomain(c.Label); err != nil {
			return nil, fmt.Errorf("servers is missing, and DNS cannot be asked for those of %q: %w: write servers ldaps://<host>", c.Label, err)
		}
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
	case c.searchesFirst() && c.BindUser == "":
		return nil, fmt.Errorf("bind is missing: the kind %s needs a service account to find users: write bind <dn> <password>", c.Kind)
	case c.searchesFirst() && !isDN(c.BindUser):
		return nil, fmt.Errorf("bind %q is no DN, which the kind %s needs: write bind <dn> <password>", c.BindUser, c.Kind)
	case c.Connections == 1 && c.BindUser != "":
		return nil, errors.New("connections 1 is too few with a service account, which has one of its own: write at least 2")
	case c.Connections < 0 || c.Connections > 1000:
		return nil, fmt.Errorf("connections %d is not from 1 to 1000", c.Connections)
	case c.Queue < 0 || c.Queue > 100_000:
		return nil, fmt.Errorf("queue %d is not from 1 to 100000", c.Queue)
	case c.Timeout != 0 && (c.Timeout < time.Second || c.Timeout > 5*time.Minute):
		return nil, fmt.Errorf("timeout %s is not from 1s to 5m", c.Timeout)
	}
	for _, domain := range c.Domains {
		if domain == "" || !cleanLine(domain) || strings.ContainsAny(domain, "@\\/ ") {
			return nil, fmt.Errorf("domains %q is no suffix or NetBIOS name: write one like corp.example.com or CORP", domain)
		}
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
		if c.searchesFirst() && strings.Contains(c.UserFilter, ruleInChain) {
			return nil, fmt.Errorf("user_filter %q: %w", c.UserFilter, errInChain)
		}
	}
	if c.GroupFilter != "" {
		if c.Kind == KindAD {
			return nil, errors.New("group_filter does not go with the kind ad, where the groups come from the token: remove it")
		}
		if strings.Contains(c.GroupFilter, ruleInChain) {
			return nil, fmt.Errorf("group_filter %q: %w", c.GroupFilter, errInChain)
		}
		if err := checkGroupFilter(c.GroupFilter); err != nil {
			return nil, fmt.Errorf("group_filter %q: %w", c.GroupFilter, err)
		}
	}
	if err := c.Attributes.check(); err != nil {
		return nil, err
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

// searchesFirst tells whether people can only be found by a service account.
func (c Config) searchesFirst() bool { return c.Kind != KindAuto && c.Kind != KindAD }

// checkDomain refuses what is no DNS domain of several labels.
func checkDomain(domain string) error {
	if len(domain) > 253 || !strings.Contains(domain, ".") {
		return errors.New("it is no DNS domain")
	}
	for label := range strings.SplitSeq(domain, ".") {
		if !dnsLabel.MatchString(label) {
			return fmt.Errorf("%q in it is no DNS label", label)
		}
	}
	return nil
}

var dnsLabel = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$`)

// serverAt is the server that DNS announces at a host and port. What is
// announced is the port of ldap://; ldaps is at 636, on 3269 where the global
// catalogue's 3268 is announced.
func (c Config) serverAt(host string, port uint16) server {
	s := server{host: host, implicit: true}
	scheme := "ldaps"
	switch {
	case c.StartTLS || c.InsecurePlaintext:
		scheme, s.implicit, s.startTLS = "ldap", false, c.StartTLS
	case port == 389:
		port = 636
	case port == 3268:
		port = 3269
	}
	s.address = net.JoinHostPort(host, strconv.Itoa(int(port)))
	s.url = scheme + "://" + s.address
	if c.ServerName != "" {
		s.host = c.ServerName
	}
	return s
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
