package caddyauth

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyauth/caddy-ldap/ldap"
)

// Directory is the Active Directory or LDAP directory that proves who people
// are.
type Directory struct {
	// Names the directory in logs and records. On Active Directory it is the
	// DNS domain: a user name without one is completed with it. Required.
	Label string `json:"label"`

	// The kind of the servers: `ad`, or `generic` for any other LDAP v3
	// server. Default: found out from the server
	Kind string `json:"kind,omitempty"`

	// The servers, as ldaps:// or ldap:// URLs, tried in this order. Supports
	// placeholders. Required.
	Servers []string `json:"servers,omitempty"`

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

	// The attribute with the e-mail address; empty takes the user principal
	// name. Default: mail
	EmailAttribute *string `json:"email_attribute,omitempty"`

	// A PEM file with the certificates that the servers' are verified by.
	// Default: the system's
	CAFile string `json:"ca_file,omitempty"`

	// The host name that the servers' certificates must carry. Default: the
	// host of each server's URL
	ServerName string `json:"server_name,omitempty"`

	// Upgrades ldap:// connections to TLS before anything is sent. Default:
	// false
	StartTLS bool `json:"start_tls,omitempty"`

	// Allows ldap:// without StartTLS to other machines, which sends passwords
	// readable over the network. Default: false
	InsecurePlaintext bool `json:"insecure_plaintext,omitempty"`

	// Where people change or reset their password; the sign-in page links to
	// it. Default: none
	PasswordURL string `json:"password_url,omitempty"`
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
		config.Label, config.Kind, config.Servers, config.BindUser, config.BaseDN, config.GroupBase, config.UserFilter,
		config.EmailAttribute, config.ServerName, config.StartTLS, config.InsecurePlaintext, secrets,
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
		ServerName:        d.ServerName,
		StartTLS:          d.StartTLS,
		InsecurePlaintext: d.InsecurePlaintext,
	}
	if len(d.Servers) == 0 {
		return config, nil, fmt.Errorf("servers: name at least one server, as in: servers ldaps://dc1.%s", d.Label)
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
		if config.EmailAttribute = *d.EmailAttribute; config.EmailAttribute == "" {
			config.EmailAttribute = "-"
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
	if d.PasswordURL != "" {
		if u, err := url.Parse(d.PasswordURL); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
			return config, nil, fmt.Errorf("password_url: %q is not an http or https URL", d.PasswordURL)
		}
	}
	return config, secrets, nil
}

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

// warn names what weakens the directory's safety, at every start.
func (d *Directory) warn(logger *slog.Logger) {
	if d.InsecurePlaintext {
		logger.Warn("insecure_plaintext is set: passwords may cross the network readable", "directory", d.Label)
	}
}
