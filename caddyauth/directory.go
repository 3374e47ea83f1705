package caddyauth

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyauth/caddy-ldap/ldap"
)

// Directory is the Active Directory or LDAP directory that proves who people
// are.
type Directory struct {
	// Names the directory in logs and records. On Active Directory it is the
	// DNS domain: a user name without one is completed with it. Required.
	Label string `json:"label"`

	// The kind of the servers: `ad`, `openldap`, `389ds`, or `generic` for any
	// other LDAP v3 server. Default: found out from the server
	Kind string `json:"kind,omitempty"`

	// The servers, as ldaps:// or ldap:// URLs. A later one is asked while an
	// earlier one is down or busy. Supports placeholders. Default: found by DNS,
	// as the SRV records of _ldap._tcp.dc._msdcs.<label>, else _ldap._tcp.<label>;
	// names outside of the domain are left out
	Servers []string `json:"servers,omitempty"`

	// Further names that people call the directory by, as the suffix in
	// user@suffix or the prefix in DOMAIN\user. The label, and on Active
	// Directory the NetBIOS name, are known without. Default: none
	Domains []string `json:"domains,omitempty"`

	// The service account. On Active Directory it is optional; elsewhere it
	// searches the users. Supports placeholders, as in `{env.LDAP_USER}`.
	// Default: none
	BindUser string `json:"bind_user,omitempty"`

	// The service account's password. Supports placeholders, as in
	// `{file./run/secrets/ldap}` or `{env.LDAP_PASSWORD}`; a literal brace is
	// written `\{`. Default: none
	BindPassword string `json:"bind_password,omitempty"`

	// The entry below which users are searched. Default: from the server
	BaseDN string `json:"base_dn,omitempty"`

	// The entry below which the groups are that the configuration names.
	// Default: base_dn
	GroupBase string `json:"group_base,omitempty"`

	// The filter that finds one user, with `{user}` for the name as it was
	// typed and `{upn}` for the one that binds on Active Directory. Default: by
	// sAMAccountName or userPrincipalName on Active Directory, elsewhere
	// (uid={user})
	UserFilter string `json:"user_filter,omitempty"`

	// The filter that finds the groups which list somebody, with `{dn}` for the
	// DN and `{user}` for the user name. Not on Active Directory, where the
	// groups come from the token. Default: by member, uniqueMember and memberUid
	GroupFilter string `json:"group_filter,omitempty"`

	// The attribute with the e-mail address; empty takes the user principal
	// name. Default: mail
	EmailAttribute *string `json:"email_attribute,omitempty"`

	// The attributes to read where they are not the usual ones. Default: those
	// of the kind
	Attributes ldap.Attributes `json:"attributes,omitzero"`

	// A PEM file with the certificates that the servers' are verified by.
	// Default: the system's
	CAFile string `json:"ca_file,omitempty"`

	// The host name that the servers' certificates must carry. Default: the
	// host of each server's URL
	ServerName string `json:"server_name,omitempty"`

	// PEM files with a certificate and its key, for servers that ask for one.
	// Default: none
	ClientCert *ClientCert `json:"client_cert,omitempty"`

	// Upgrades ldap:// connections to TLS before anything is sent. Default:
	// false
	StartTLS bool `json:"start_tls,omitempty"`

	// Allows ldap:// without StartTLS to other machines, which sends passwords
	// readable over the network. Default: false
	InsecurePlaintext bool `json:"insecure_plaintext,omitempty"`

	// Where people change or reset their password; the sign-in page links to
	// it, and refusals name it that a new password cures. Default: none
	PasswordURL string `json:"password_url,omitempty"`

	// How many connections to one server are open at once; with a service
	// account half of them are for its look-ups. Default: 8
	Connections int `json:"connections,omitempty"`

	// How many sign-ins may wait for a connection, or for the time at which
	// refusals leave. One more is answered 503 at once. Default: 64
	Queue int `json:"queue,omitempty"`

	// How long one sign-in may take. Default: 10s
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// How often the accounts whose sessions are in use are looked up, with a
	// service account: one that is gone, disabled or expired, or whose password
	// was changed, loses its sessions. Default: 5m
	Recheck caddy.Duration `json:"recheck,omitempty"`

	// How long sessions go on while accounts cannot be looked up; then requests
	// are answered 503. Default: 1h
	RecheckGrace caddy.Duration `json:"recheck_grace,omitempty"`

	// How much a refused sign-in says of the account to whoever has its
	// password. `off`: nothing. `password`: that the password has expired or
	// must be changed; all else that keeps an account out has one text. `all`:
	// that other state too. Default: password
	LoginHints string `json:"login_hints,omitempty"`
}

// ClientCert names the files of a certificate.
type ClientCert struct {
	// The certificate, with those that lead to its CA.
	Certificate string `json:"certificate"`

	// Its key.
	Key string `json:"key"`
}

// directories holds the directories of all configurations that live at one
// time: what was learned of one, its groups above all, outlives a reload that
// does not change it.
var directories = caddy.NewUsagePool()

// directoryHandle is one directory. It holds nothing of a configuration that
// could go before it.
type directoryHandle struct {
	*ldap.Directory
	handler *handoverHandler
	slowest slowest

	// calls are asked in the Directory's place, unless nil: tests have them fail.
	calls directoryCalls
}

// Destruct implements caddy.Destructor: the last configuration is gone.
func (h *directoryHandle) Destruct() error { return h.Close() }

// acquire checks the options, reads the files that they name and takes a
// reference to the directory, which key gives back. Nothing is dialled.
func (d *Directory) acquire() (handle *directoryHandle, key string, err error) {
	if d.Label == "" {
		return nil, "", errors.New("directory: the label is missing")
	}
	config, secrets, err := d.compile()
	if err != nil {
		return nil, "", fmt.Errorf("directory %s: %w", d.Label, err)
	}
	key = poolKey(config, secrets)
	value, _, err := directories.LoadOrNew(key, func() (caddy.Destructor, error) {
		handler := newHandoverHandler()
		config.Logger = slog.New(handler)
		directory, err := ldap.New(config)
		if err != nil {
			return nil, err
		}
		return &directoryHandle{Directory: directory, handler: handler}, nil
	})
	if err != nil {
		return nil, "", err // it names the directory
	}
	return value.(*directoryHandle), key, nil
}

// poolKey tells configurations apart, with what their files and placeholders
// hold now. It is a hash, because the password is part of it.
func poolKey(config ldap.Config, secrets []byte) string {
	hash := sha256.New()
	for _, part := range []any{
		config.Label, config.Kind, config.Servers, config.Domains, config.BindUser, config.BaseDN, config.GroupBase,
		config.UserFilter, config.GroupFilter, config.Attributes, config.ServerName, config.StartTLS, config.InsecurePlaintext,
		config.Connections, config.Queue, config.Timeout, secrets,
	} {
		_, _ = fmt.Fprintf(hash, "%q\n", fmt.Sprint(part))
	}
	return string(hash.Sum(nil))
}

// compile fills in placeholders and reads files. secrets is what of them the
// configuration itself does not show.
func (d *Directory) compile() (config ldap.Config, secrets []byte, err error) {
	config = ldap.Config{
		Label:             d.Label,
		Kind:              ldap.Kind(d.Kind),
		BaseDN:            d.BaseDN,
		GroupBase:         d.GroupBase,
		UserFilter:        d.UserFilter,
		GroupFilter:       d.GroupFilter,
		Attributes:        d.Attributes,
		Domains:           d.Domains,
		Connections:       d.Connections,
		Queue:             d.Queue,
		Timeout:           time.Duration(d.Timeout),
		ServerName:        d.ServerName,
		StartTLS:          d.StartTLS,
		InsecurePlaintext: d.InsecurePlaintext,
	}
	if err := errors.Join(notEmpty("servers", d.Servers), notEmpty("domains", d.Domains)); err != nil {
		return config, nil, err
	}
	for option, value := range map[string]int64{"connections": int64(d.Connections), "queue": int64(d.Queue), "timeout": int64(d.Timeout)} {
		if value < 0 {
			return config, nil, fmt.Errorf("%s: it is negative", option)
		}
	}
	for _, server := range d.Servers {
		url, err := replaceAll(server)
		if err != nil {
			return config, nil, fmt.Errorf("servers: reading %q: %w", server, err)
		}
		config.Servers = append(config.Servers, url)
	}
	if config.BindUser, err = replaceAll(d.BindUser); err != nil {
		return config, nil, fmt.Errorf("bind: reading the user: %w", err)
	}
	if config.BindPassword, err = replaceAll(d.BindPassword); err != nil {
		return config, nil, fmt.Errorf("bind: reading the password: %w", err)
	}
	if d.EmailAttribute != nil {
		if d.Attributes.Email != "" {
			return config, nil, errors.New("email_attribute is the email of attributes: write one of them")
		}
		if config.Attributes.Email = *d.EmailAttribute; config.Attributes.Email == "" {
			config.Attributes.Email = "-"
		} else if !attributeName.MatchString(config.Attributes.Email) {
			return config, nil, fmt.Errorf("email_attribute: %q is no attribute's name: write one like mail", *d.EmailAttribute)
		}
	}
	secrets = []byte(config.BindPassword)
	if d.CAFile != "" {
		var pem []byte
		if config.RootCAs, pem, err = readCAs(d.CAFile); err != nil {
			return config, nil, fmt.Errorf("ca_file: %w", err)
		}
		secrets = append(append(secrets, 0), pem...)
	}
	if d.ClientCert != nil {
		var pem []byte
		if config.Certificate, pem, err = d.ClientCert.read(); err != nil {
			return config, nil, fmt.Errorf("client_cert: %w", err)
		}
		secrets = append(append(secrets, 1), pem...)
	}
	if d.PasswordURL != "" {
		if u, err := url.Parse(d.PasswordURL); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
			return config, nil, fmt.Errorf("password_url: %q is not an http or https URL", d.PasswordURL)
		}
	}
	if _, err := d.hints(); err != nil {
		return config, nil, err
	}
	return config, secrets, nil
}

// attributeName is an attribute description without options (RFC 4512 1.4).
// Package ldap checks it too, but cannot know which of two options set it.
var attributeName = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9-]*|[0-9]+(\.[0-9]+)+)$`)

// replaceAll fills in placeholders. One that is empty or unknown is an error
// at load: a secret that could not be read must not become a wrong one. The
// errors name the placeholder, never its value, nor the text around it.
func replaceAll(text string) (string, error) {
	repl := caddy.NewReplacer()
	filled, err := repl.ReplaceOrErr(text, true, true)
	switch {
	case err == nil:
		return filled, nil
	case strings.HasSuffix(err.Error(), "is empty"):
		return "", fmt.Errorf("%w: the file cannot be read or is empty, or the variable is not set", err)
	}
	return "", fmt.Errorf("%w: a literal brace is written \\{", err)
}

// readCAs reads a PEM file. One without a certificate is an error: an empty
// pool would be nobody, a missing one everybody that the system trusts.
func readCAs(file string) (pool *x509.CertPool, pem []byte, err error) {
	if pem, err = os.ReadFile(file); err != nil {
		return nil, nil, fmt.Errorf("reading the certificates: %w", err)
	}
	pool = x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, nil, fmt.Errorf("%q holds no PEM certificate", file)
	}
	return pool, pem, nil
}

// read reads the two files, which must belong together.
func (c *ClientCert) read() (certificate *tls.Certificate, pem []byte, err error) {
	if c.Certificate == "" || c.Key == "" {
		return nil, nil, errors.New("it needs a certificate and a key")
	}
	chain, err := os.ReadFile(c.Certificate)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the certificate: %w", err)
	}
	key, err := os.ReadFile(c.Key)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the key: %w", err)
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, nil, fmt.Errorf("reading %q and %q: %w", c.Certificate, c.Key, err)
	}
	return &pair, slices.Concat(chain, []byte{0}, key), nil
}

// warn names what weakens the directory's safety, at every start.
func (d *Directory) warn(logger *slog.Logger) {
	if d.InsecurePlaintext {
		logger.Warn("insecure_plaintext is set: passwords may cross the network readable", "directory", d.Label)
	}
}
