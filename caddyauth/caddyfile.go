package caddyauth

import (
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/dustin/go-humanize"

	"github.com/caddyauth/caddy-ldap/caddyauth/pages"
	"github.com/caddyauth/caddy-ldap/ldap"
	"github.com/caddyauth/caddy-ldap/sessionstore"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("ldap_auth", parseApp)
	httpcaddyfile.RegisterDirective("ldap_login", parseLogin)
	httpcaddyfile.RegisterDirective("require_session", parseRequire)

	// Before header, so before redir, rewrite and try_files: nothing of a
	// site, not even its headers, runs for a request that is refused. The one
	// registered last stands nearest to header.
	httpcaddyfile.RegisterDirectiveOrder("ldap_login", httpcaddyfile.Before, "header")
	httpcaddyfile.RegisterDirectiveOrder("require_session", httpcaddyfile.Before, "header")
}

// parseApp reads the global option. Syntax:
//
//	ldap_auth [<domain>] {
//		directory <label> [ad|openldap|389ds|generic] {
//			servers         <url>...
//			domains         <name>...
//			bind            <user> <password>
//			base_dn         <dn>
//			group_base      <dn>
//			user_filter     <filter>
//			group_filter    <filter>
//			email_attribute <attribute>
//			attributes {
//				id           <attribute>
//				username     <attribute>
//				first_name   <attribute>|-
//				last_name    <attribute>|-
//				display_name <attribute>|-
//				email        <attribute>|-
//				upn          <attribute>|-
//				title        <attribute>|-
//				manager      <attribute>|-
//				member_of    <attribute>|-
//				group_name   <attribute>
//				password_set <attribute>|-
//			}
//			ca_file         <pem>
//			server_name     <host>
//			client_cert     <pem> <key>
//			start_tls
//			insecure_plaintext
//			password_url    <url>
//			login_hints     off|password|all
//			connections     <number>
//			queue           <number>
//			timeout         <duration>
//			recheck         <duration>
//			recheck_grace   <duration>
//		}
//		sessions {
//			idle_timeout     <duration>
//			absolute_timeout <duration>|off
//			per_user         <number>
//			browser_close
//			cookie_name      <name>
//			cookie_prefix    __Host-|__Secure-
//			same_site        lax|strict|none
//			storage          badger [<folder>] {
//				encryption_key <file>
//				min_free       <size>
//			}
//		}
//		throttle account <failures> <duration>
//		throttle source  <failures> <duration>
//		throttle insecure_off
//		default_language es|en|pt|fr|de
//		branding {
//			title       <text>
//			logo        <file>
//			accent      <colour>
//			notice      [<language>] <text>
//			help_text   [<language>] <text>
//			privacy_url <url>
//		}
//		trusted_origins <origin>...
//		trusted_ips     <cidr>...|private_ranges
//		csrf            token|origin|insecure_off
//		insecure_http
//	}
//
// A domain alone is a directory of that label.
func parseApp(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		d.Next() // the error is about this option
		return nil, d.Err("ldap_auth is configured already: one block holds everything")
	}
	app := new(App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "ldap_auth", Value: caddyconfig.JSON(app, nil)}, nil
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler; parseApp has the syntax.
func (app *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()              // consume option name
	var beside *Directory // the domain beside ldap_auth, until its block is seen
	if d.NextArg() {
		if d.Val() == "" {
			return d.Err("ldap_auth: the domain is empty")
		}
		beside = &Directory{Label: d.Val()}
		app.Directories = append(app.Directories, beside)
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	err := eachOption(d, 0, func(option string) (err error) {
		switch option {
		case "directory":
			directory := new(Directory)
			if err := directory.unmarshalCaddyfile(d); err != nil {
				return err
			}
			same := slices.IndexFunc(app.Directories, func(d *Directory) bool { return strings.EqualFold(d.Label, directory.Label) })
			switch {
			case same < 0:
				app.Directories = append(app.Directories, directory)
			case app.Directories[same] != beside:
				return d.Errf("directory %s: there is one of this label already", directory.Label)
			default:
				// The domain beside ldap_auth, with its options. It keeps its
				// place: names that say nothing are the first directory's.
				app.Directories[same], beside = directory, nil
			}
		case "sessions":
			if err := app.Sessions.unmarshalCaddyfile(d); err != nil {
				return err
			}
		case "throttle":
			if err := app.Throttle.unmarshalOption(d); err != nil {
				return err
			}
		case "default_language":
			if app.DefaultLanguage, err = one(d); err != nil {
				return err
			}
			if err := (pages.Options{DefaultLanguage: app.DefaultLanguage}).Check(); err != nil {
				return d.WrapErr(err)
			}
		case "branding":
			if err := app.Branding.unmarshalCaddyfile(d); err != nil {
				return err
			}
		default:
			if err := app.Policy.unmarshalOption(d); err != nil {
				return err
			}
		}
		return nil
	}, "directory", "throttle")
	if err != nil {
		return err
	}
	if len(app.Directories) == 0 {
		return d.Err("ldap_auth needs a directory")
	}
	if err := (pages.Options{DefaultLanguage: app.DefaultLanguage, Branding: app.Branding.withoutLogo()}).Check(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// unmarshalCaddyfile reads the branding block.
func (b *Branding) unmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Err("branding has no arguments: its options stand in a block")
	}
	return eachOption(d, d.Nesting(), func(option string) (err error) {
		switch option {
		case "title":
			b.Title, err = one(d)
		case "logo":
			b.Logo, err = one(d)
		case "accent":
			if b.Accent, err = one(d); err != nil {
				return d.Errf("%v: %s", err, `write a colour in quotes, as "#0a58ca": without them # begins a comment`)
			}
		case "notice":
			err = localized(d, &b.Notice)
		case "help_text":
			err = localized(d, &b.HelpText)
		case "privacy_url":
			b.PrivacyURL, err = one(d)
		default:
			return d.Errf("unrecognized subdirective: %s", option)
		}
		if err != nil {
			return err
		}
		// The default language may come later: any that goes will do until then.
		if err := (pages.Options{DefaultLanguage: b.possibleDefault(), Branding: b.withoutLogo()}).Check(); err != nil {
			return d.WrapErr(err)
		}
		return nil
	}, "notice", "help_text")
}

// localized reads a text, for one language if that stands before it.
func localized(d *caddyfile.Dispenser, texts *map[string]string) error {
	option, args := d.Val(), d.RemainingArgs()
	language := ""
	switch len(args) {
	case 1:
	case 2:
		language = args[0]
	default:
		return d.Errf("%s needs a text, in quotes, and before it a language if it is for that one alone", option)
	}
	if _, twice := (*texts)[language]; twice {
		return d.Errf("%s: there are two for the same language", option)
	}
	if *texts == nil {
		*texts = make(map[string]string)
	}
	(*texts)[language] = args[len(args)-1]
	return nil
}

// unmarshalOption reads one throttle line.
func (t *Throttle) unmarshalOption(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Err("throttle needs account, source or insecure_off")
	}
	what, args := args[0], args[1:]
	var rate **Rate
	switch what {
	case "insecure_off":
		if len(args) > 0 {
			return d.Err("throttle insecure_off takes nothing after it")
		}
		if t.InsecureOff {
			return d.Err("throttle insecure_off is set already in this block")
		}
		t.InsecureOff = true
		if _, err := t.compile(); err != nil {
			return d.WrapErr(err)
		}
		return nil
	case "account":
		rate = &t.Account
	case "source":
		rate = &t.Source
	default:
		return d.Errf("throttle: unknown %q: use account, source or insecure_off", what)
	}
	if *rate != nil {
		return d.Errf("throttle %s is set already in this block", what)
	}
	if len(args) != 2 {
		return d.Errf("throttle %s needs a number and a time, as in: throttle %[1]s 3 15m", what)
	}
	failures, err := strconv.Atoi(args[0])
	if err != nil {
		return d.Errf("throttle %s: %q is not a number", what, args[0])
	}
	window, err := parseDuration(d, args[1])
	if err != nil {
		return err
	}
	*rate = &Rate{Failures: failures, Window: window}
	if _, err := t.compile(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func (dir *Directory) unmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Err("directory needs a label")
	}
	dir.Label = d.Val()
	if d.NextArg() {
		dir.Kind = d.Val()
		if !slices.Contains(directoryKinds, dir.Kind) {
			return d.Errf("directory %s: unknown kind %q: use %s, or leave it out", dir.Label, dir.Kind, strings.Join(directoryKinds, ", "))
		}
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	return eachOption(d, d.Nesting(), func(option string) (err error) {
		switch option {
		case "servers":
			dir.Servers, err = list(d)
		case "domains":
			dir.Domains, err = list(d)
		case "bind":
			if !d.AllArgs(&dir.BindUser, &dir.BindPassword) {
				return d.Err("bind needs a user and a password")
			}
			if dir.BindUser == "" || dir.BindPassword == "" {
				return d.Err("bind: the user and the password must not be empty")
			}
		case "base_dn":
			dir.BaseDN, err = one(d)
		case "group_base":
			dir.GroupBase, err = one(d)
		case "user_filter":
			dir.UserFilter, err = one(d)
		case "group_filter":
			dir.GroupFilter, err = one(d)
		case "attributes":
			err = unmarshalAttributes(d, &dir.Attributes)
		case "email_attribute":
			var attribute string
			if !d.AllArgs(&attribute) {
				return d.ArgErr()
			}
			dir.EmailAttribute = &attribute
		case "ca_file":
			dir.CAFile, err = one(d)
		case "server_name":
			dir.ServerName, err = one(d)
		case "client_cert":
			dir.ClientCert, err = clientCert(d)
		case "start_tls":
			dir.StartTLS, err = flag(d)
		case "insecure_plaintext":
			dir.InsecurePlaintext, err = flag(d)
		case "password_url":
			dir.PasswordURL, err = one(d)
		case "connections":
			dir.Connections, err = number(d)
		case "queue":
			dir.Queue, err = number(d)
		case "timeout":
			dir.Timeout, err = duration(d)
		case "recheck":
			dir.Recheck, err = duration(d)
		case "recheck_grace":
			dir.RecheckGrace, err = duration(d)
		case "login_hints":
			if dir.LoginHints, err = one(d); err != nil {
				return err
			}
			if _, err := dir.hints(); err != nil {
				return d.Errf("directory %s: %w", dir.Label, err)
			}
		default:
			return d.Errf("directory %s: unrecognized subdirective: %s", dir.Label, option)
		}
		return err
	})
}

// directoryKinds are the kinds that a configuration can name.
var directoryKinds = []string{string(ldap.KindAD), string(ldap.KindOpenLDAP), string(ldap.Kind389DS), string(ldap.KindGeneric)}

func unmarshalAttributes(d *caddyfile.Dispenser, a *ldap.Attributes) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	fields := map[string]*string{
		"id": &a.ID, "username": &a.Username, "first_name": &a.FirstName, "last_name": &a.LastName, "display_name": &a.DisplayName,
		"email": &a.Email, "upn": &a.UPN, "title": &a.Title, "manager": &a.Manager, "member_of": &a.MemberOf,
		"group_name": &a.GroupName, "password_set": &a.PasswordSet,
	}
	return eachOption(d, d.Nesting(), func(option string) (err error) {
		field := fields[option]
		if field == nil {
			return d.Errf("attributes: unrecognized subdirective: %s", option)
		}
		*field, err = one(d)
		return err
	})
}

func (s *Sessions) unmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	err := eachOption(d, d.Nesting(), func(option string) (err error) {
		switch option {
		case "idle_timeout":
			s.IdleTimeout, err = duration(d)
		case "absolute_timeout":
			var text string
			if text, err = one(d); err != nil {
				return err
			}
			off := caddy.Duration(0)
			s.AbsoluteTimeout = &off
			if text != "off" {
				*s.AbsoluteTimeout, err = parseDuration(d, text)
			}
		case "per_user":
			s.PerUser, err = number(d)
		case "browser_close":
			s.BrowserClose, err = flag(d)
		case "cookie_name":
			s.CookieName, err = one(d)
		case "cookie_prefix":
			s.CookiePrefix, err = one(d)
		case "same_site":
			s.SameSite, err = one(d)
		case "storage":
			if !d.NextArg() {
				return d.Err("storage needs the name of a storage module, as in: storage badger")
			}
			name := d.Val()
			unmarshaler, err := caddyfile.UnmarshalModule(d, "ldap_auth.storage."+name)
			if err != nil {
				return err
			}
			s.StorageRaw = caddyconfig.JSONModuleObject(unmarshaler, "module", name, nil)
		default:
			return d.Errf("sessions: unrecognized subdirective: %s", option)
		}
		return err
	})
	if err != nil {
		return err
	}
	if _, err := s.perUser(); err != nil {
		return d.WrapErr(err)
	}
	if _, err := s.compileCookies(sessionstore.Limits{}); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// UnmarshalCaddyfile reads the storage module. Syntax:
//
//	badger [<folder>] {
//		encryption_key <file>
//		min_free       <size>
//	}
func (b *Badger) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume module name
	if d.NextArg() {
		if b.Folder = d.Val(); b.Folder == "" {
			return d.Err("storage badger: the folder's name is empty")
		}
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	return eachOption(d, d.Nesting(), func(option string) (err error) {
		switch option {
		case "encryption_key":
			b.EncryptionKey, err = one(d)
		case "min_free":
			b.MinFree, err = size(d, leastMinFree)
		default:
			err = d.Errf("storage badger: unrecognized subdirective: %s", option)
		}
		return err
	})
}

// UnmarshalCaddyfile reads the storage module. Syntax:
//
//	redis <address>... {
//		username          <name>
//		password          <password>
//		tls
//		ca_file           <pem>
//		server_name       <host>
//		client_cert       <pem> <key>
//		prefix            <text>
//		sentinel          <name>
//		sentinel_username <name>
//		sentinel_password <password>
//		cluster
//	}
//
// With sentinel the addresses are those of the sentinels; several are for
// sentinel or cluster only.
func (r *Redis) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume module name
	r.Addresses = d.RemainingArgs()
	for _, address := range r.Addresses {
		if err := checkRedisAddress(address); err != nil {
			return d.Errf("storage redis: %w", err)
		}
	}
	err := eachOption(d, d.Nesting(), func(option string) (err error) {
		switch option {
		case "username":
			r.Username, err = one(d)
		case "password":
			r.Password, err = one(d)
		case "tls":
			r.TLS, err = flag(d)
		case "ca_file":
			r.CAFile, err = one(d)
		case "server_name":
			r.ServerName, err = one(d)
		case "client_cert":
			r.ClientCert, err = clientCert(d)
		case "prefix":
			if r.Prefix, err = one(d); err != nil {
				return err
			}
			if err := r.checkPrefix(); err != nil {
				return d.Errf("storage redis: %w", err)
			}
		case "sentinel":
			r.Sentinel, err = one(d)
		case "sentinel_username":
			r.SentinelUsername, err = one(d)
		case "sentinel_password":
			r.SentinelPassword, err = one(d)
		case "cluster":
			r.Cluster, err = flag(d)
		default:
			err = d.Errf("storage redis: unrecognized subdirective: %s", option)
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := r.check(); err != nil {
		return d.Errf("storage redis: %w", err)
	}
	return nil
}

// parseLogin reads the directive. Syntax:
//
//	ldap_login {
//		page     <path>
//		api      <path>
//		logout   <path>
//		session  <path>
//		sessions <path>
//		home     <path>
//		trusted_origins <origin>...
//		trusted_ips     <cidr>...|private_ranges
//		csrf            token|origin|insecure_off
//		insecure_http
//	}
func parseLogin(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	login := new(LDAPLogin)
	return parseHandler(h, login, &login.Policy)
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler; parseLogin has the
// syntax.
func (l *LDAPLogin) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if d.NextArg() {
		return d.ArgErr()
	}
	err := eachOption(d, 0, func(option string) (err error) {
		switch option {
		case "page":
			l.Page, err = one(d)
		case "api":
			l.API, err = one(d)
		case "logout":
			l.Logout, err = one(d)
		case "session":
			l.Session, err = one(d)
		case "sessions":
			l.Sessions, err = one(d)
		case "home":
			l.Home, err = one(d)
		default:
			err = l.Policy.unmarshalOption(d)
		}
		return err
	})
	if err != nil {
		return err
	}
	if _, err := l.compilePaths(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// parseRequire reads the directive. Syntax:
//
//	require_session [<matcher>] [<group>...] {
//		public  <path>...
//		require <path> <group>...
//		fresh   <duration>
//		identity_headers off|<user> <name> <email> <groups>
//		forward_groups <group>...
//		directories <label>...
//		trusted_origins <origin>...
//		trusted_ips     <cidr>...|private_ranges
//		csrf            token|origin|insecure_off
//		insecure_http
//	}
//
// The matcher may use host, client_ip, remote_ip and not of these. A first
// argument that begins with / or @, or is *, is always the matcher.
func parseRequire(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	gate := new(RequireSession)
	return parseHandler(h, gate, &gate.Policy)
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler; parseRequire has the
// syntax.
func (g *RequireSession) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if groups := d.RemainingArgs(); len(groups) > 0 {
		g.Groups = groups
	}
	if _, err := compileGroupLine(g.Groups); err != nil {
		return d.WrapErr(err)
	}
	return eachOption(d, 0, func(option string) (err error) {
		switch option {
		case "public":
			var paths []string
			if paths, err = list(d); err != nil {
				return err
			}
			g.Public = append(g.Public, paths...)
			if _, err := compilePathRules(paths, nil); err != nil {
				return d.WrapErr(err)
			}
		case "require":
			args := d.RemainingArgs()
			if len(args) < 2 {
				return d.Err("require needs a path and at least one group")
			}
			line := PathRequirement{Path: args[0], Groups: args[1:]}
			g.Require = append(g.Require, line)
			if _, err := compilePathRules(nil, []PathRequirement{line}); err != nil {
				return d.WrapErr(err)
			}
		case "fresh":
			g.Fresh, err = duration(d)
		case "identity_headers":
			args := d.RemainingArgs()
			switch {
			case len(args) == 1 && args[0] == "off":
				g.IdentityHeaders = &IdentityHeaders{Off: true}
			case len(args) == 4:
				g.IdentityHeaders = &IdentityHeaders{User: args[0], Name: args[1], Email: args[2], Groups: args[3]}
			default:
				return d.Err("identity_headers needs off, or the four header names of user, name, e-mail and groups")
			}
			if _, err := g.IdentityHeaders.compile(); err != nil {
				return d.WrapErr(err)
			}
		case "forward_groups":
			g.ForwardGroups, err = list(d)
		case "directories":
			g.Directories, err = list(d)
		default:
			err = g.Policy.unmarshalOption(d)
		}
		return err
	}, "public", "require")
}

// UnmarshalCaddyfile reads the matcher. Syntax:
//
//	session_group <group>...
func (m *SessionGroup) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	for d.Next() {
		groups, err := list(d)
		if err != nil {
			return err
		}
		m.Groups = append(m.Groups, groups...)
		if d.NextBlock(0) {
			return d.Errf("session_group: unrecognized subdirective: %s", d.Val())
		}
	}
	return nil
}

// unmarshalOption reads one line of the policy.
func (p *Policy) unmarshalOption(d *caddyfile.Dispenser) error {
	option := d.Val()
	var err error
	switch option {
	case "trusted_origins":
		p.TrustedOrigins, err = list(d)
	case "trusted_ips":
		p.TrustedIPs, err = list(d)
	case "csrf":
		p.CSRF, err = one(d)
	case "insecure_http":
		p.InsecureHTTP, err = flag(d)
	default:
		return d.Errf("unrecognized subdirective: %s", option)
	}
	if err != nil {
		return err
	}
	if _, err := p.compile(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// parseHandler reads one of the two directives and makes its route.
func parseHandler[H interface {
	caddyfile.Unmarshaler
	caddyhttp.MiddlewareHandler
}](h httpcaddyfile.Helper, handler H, own *Policy) ([]httpcaddyfile.ConfigValue, error) {
	h.Next() // consume directive name
	directive := h.Val()
	here := *h.Dispenser // stays at the directive, which later errors are about
	app, ok := h.Option("ldap_auth").(httpcaddyfile.App)
	if !ok {
		return nil, h.Errf("%s needs the ldap_auth global option", directive)
	}
	if directive == "ldap_login" && h.CountRemainingArgs() > 0 {
		return nil, h.Err("ldap_login takes no matcher: what it missed would find the default sign-in routes of require_session, without the options of this one")
	}
	matchers, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, here.Errf("%s: reading the matcher: %w (a group that is spelled like one needs a * before it)", directive, err)
	}
	if directive == "require_session" {
		if name := forbiddenMatcher(matchers); name != "" {
			return nil, here.Errf("require_session: the matcher %s lets other spellings of a request past the gate: guard the whole site, and open or close paths with public and require", name)
		}
	}
	if err := handler.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	shared := new(Policy)
	if err := json.Unmarshal(app.Value, &struct{ *Policy }{shared}); err != nil {
		return nil, here.Errf("reading the ldap_auth global option: %w", err)
	}
	if own.over(*shared).TrustedIPs != nil && trustsProxiesLoosely(h.Option("servers")) {
		return nil, here.Errf("%s: trusted_ips beside trusted_proxies without trusted_proxies_strict lets clients choose their own address: add trusted_proxies_strict to the servers global option", directive)
	}
	return h.NewRoute(matchers, handler), nil
}

// forbiddenMatcher returns the first matcher of a set that depends on how a
// request is spelled, "" for none.
func forbiddenMatcher(set caddy.ModuleMap) string {
	for name, raw := range set {
		switch name {
		case "host", "client_ip", "remote_ip":
		case "not":
			var sets []caddy.ModuleMap
			if err := json.Unmarshal(raw, &sets); err != nil {
				return name
			}
			for _, inner := range sets {
				if forbidden := forbiddenMatcher(inner); forbidden != "" {
					return forbidden
				}
			}
		default:
			return name
		}
	}
	return ""
}

// trustsProxiesLoosely looks for trusted_proxies without strict in the servers
// global option, whose type is not exported.
func trustsProxiesLoosely(servers any) bool {
	blocks := reflect.ValueOf(servers)
	if blocks.Kind() != reflect.Slice {
		return false
	}
	for i := range blocks.Len() {
		block := blocks.Index(i)
		if block.Kind() != reflect.Struct {
			continue
		}
		proxies, sockets, strict := block.FieldByName("TrustedProxiesRaw"), block.FieldByName("TrustedProxiesUnix"), block.FieldByName("TrustedProxiesStrict")
		trusts := proxies.IsValid() && proxies.Len() > 0 || sockets.IsValid() && sockets.Bool()
		if trusts && strict.IsValid() && strict.Int() <= 0 {
			return true
		}
	}
	return false
}

// eachOption calls read for each line of a block. An option may stand once,
// unless it is one of the repeatable ones.
func eachOption(d *caddyfile.Dispenser, nesting int, read func(option string) error, repeatable ...string) error {
	seen := make(map[string]bool)
	for d.NextBlock(nesting) {
		option := d.Val()
		if seen[option] && !slices.Contains(repeatable, option) {
			return d.Errf("%s is set already in this block", option)
		}
		seen[option] = true
		if err := read(option); err != nil {
			return err
		}
	}
	return nil
}

// list reads one argument or more, none of them empty.
func list(d *caddyfile.Dispenser) ([]string, error) {
	option, args := d.Val(), d.RemainingArgs()
	if len(args) == 0 {
		return nil, d.Errf("%s needs at least one argument: an empty list would mean the option is off", option)
	}
	for _, arg := range args {
		if strings.TrimSpace(arg) == "" {
			return nil, d.Errf("%s: an argument is empty", option)
		}
	}
	return args, nil
}

// one reads exactly one argument that is not empty.
func one(d *caddyfile.Dispenser) (string, error) {
	option := d.Val()
	var value string
	if !d.AllArgs(&value) {
		return "", d.Errf("%s needs exactly one argument", option)
	}
	if value == "" {
		return "", d.Errf("%s: the argument is empty", option)
	}
	return value, nil
}

// clientCert reads an option with the files of a certificate.
func clientCert(d *caddyfile.Dispenser) (*ClientCert, error) {
	files := new(ClientCert)
	if !d.AllArgs(&files.Certificate, &files.Key) || files.Certificate == "" || files.Key == "" {
		return nil, d.Err("client_cert needs a certificate and a key, as PEM files")
	}
	return files, nil
}

// flag reads an option without arguments.
func flag(d *caddyfile.Dispenser) (bool, error) {
	option := d.Val()
	if d.NextArg() {
		return false, d.Errf("%s takes no argument, got %q", option, d.Val())
	}
	return true, nil
}

// number reads an option with one positive number.
func number(d *caddyfile.Dispenser) (int, error) {
	option := d.Val()
	text, err := one(d)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, d.Errf("%s: %q is not a positive number", option, text)
	}
	return n, nil
}

// size reads an option with a number of bytes, as in 512MiB.
func size(d *caddyfile.Dispenser, least int64) (int64, error) {
	option := d.Val()
	text, err := one(d)
	if err != nil {
		return 0, err
	}
	n, err := humanize.ParseBytes(text)
	switch {
	case err != nil || n > math.MaxInt64:
		return 0, d.Errf("%s: %q is not a size, as in 512MiB", option, text)
	case int64(n) < least:
		return 0, d.Errf("%s: %s is too little: it is at least %s", option, text, humanize.IBytes(uint64(least)))
	}
	return int64(n), nil
}

func duration(d *caddyfile.Dispenser) (caddy.Duration, error) {
	text, err := one(d)
	if err != nil {
		return 0, err
	}
	return parseDuration(d, text)
}

func parseDuration(d *caddyfile.Dispenser, text string) (caddy.Duration, error) {
	value, err := caddy.ParseDuration(text)
	if err != nil {
		return 0, d.Errf("invalid duration %q: %v", text, err)
	}
	if value < time.Second {
		return 0, d.Errf("duration %q is less than 1s", text)
	}
	return caddy.Duration(value), nil
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*App)(nil)
	_ caddyfile.Unmarshaler = (*Badger)(nil)
	_ caddyfile.Unmarshaler = (*LDAPLogin)(nil)
	_ caddyfile.Unmarshaler = (*Redis)(nil)
	_ caddyfile.Unmarshaler = (*RequireSession)(nil)
	_ caddyfile.Unmarshaler = (*SessionGroup)(nil)
)
