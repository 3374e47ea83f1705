package ldap

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"time"
)

// Kind tells which family of directory a server belongs to, and so how a
// person's identity is proven on it.
type Kind string

const (
	// KindAuto asks the server's rootDSE at the first sign-in.
	KindAuto Kind = ""

	// KindAD is Active Directory or Samba AD: users bind with their own name
	// (user@domain) and the entry is accepted only if its objectSid is in the
	// rootDSE tokenGroups of that very connection.
	KindAD Kind = "ad"

	// KindOpenLDAP is OpenLDAP: as KindGeneric, with its operational attributes.
	KindOpenLDAP Kind = "openldap"

	// Kind389DS is 389 Directory Server, FreeIPA's included: as KindGeneric,
	// with its operational attributes.
	Kind389DS Kind = "389ds"

	// KindGeneric is any other LDAP v3 directory: a service account searches
	// the entry, then the user binds with the DN that was found.
	KindGeneric Kind = "generic"
)

// Config is everything that is known about one directory before it is asked.
// Its zero values mean the defaults named at each field.
//
// Printing a Config, by fmt or slog, leaves the password out.
type Config struct {
	// Label names the directory in records, logs and, on AD, is the DNS domain
	// that bare user names are completed with. Required.
	Label string

	// Kind of the servers. Default: KindAuto
	Kind Kind

	// Servers are ldaps:// or ldap:// URLs, each with a host and an optional
	// port and nothing else. They are asked in this order, a later one only
	// while an earlier one is down or has no connection free. Default: found by
	// DNS (SRV records _ldap._tcp.dc._msdcs.<label>, else _ldap._tcp.<label>),
	// those inside the domain Label only
	Servers []string

	// Domains are further names by which people call this directory, as the
	// suffix in user@suffix or the prefix in DOMAIN\user. Label and, on AD, what
	// the server tells are known without. See Choose.
	Domains []string

	// BindUser is the service account: on AD as user@domain or a DN, elsewhere
	// a DN. Required for KindGeneric.
	BindUser string

	// BindPassword belongs to BindUser; they come together or not at all.
	BindPassword string `json:"-"`

	// BaseDN is where users are searched; nobody outside of it signs in.
	// Default: defaultNamingContext of the server's rootDSE, or its only
	// namingContexts value.
	BaseDN string

	// GroupBase is where group names of the configuration are looked up, and on
	// KindGeneric the groups that list a member.
	// Default: BaseDN
	GroupBase string

	// UserFilter finds one user's entry; {user} stands for the escaped name.
	// Who does not match it does not sign in.
	// Default on AD: (&(objectCategory=person)(objectClass=user)(|(sAMAccountName={user})(userPrincipalName={upn}))),
	// where {upn} is the name that was bound with; elsewhere (uid={user}).
	UserFilter string

	// GroupFilter finds the groups that list somebody or a group; {dn} stands
	// for the escaped DN, {user} for the user name. Not on KindAD.
	// Default: (|(member={dn})(uniqueMember={dn})(&(objectClass=posixGroup)(memberUid={user})))
	GroupFilter string

	// Attributes that are read, where they are not the usual ones. An Email of
	// "-" stands for the user principal name.
	Attributes Attributes

	// RootCAs verifies the servers' certificates. Default: the system's
	RootCAs *x509.CertPool

	// ServerName is the host name that certificates must carry.
	// Default: the host of each server's URL
	ServerName string

	// Certificate is shown to servers that ask for one. Default: none
	Certificate *tls.Certificate `json:"-"`

	// StartTLS upgrades ldap:// connections before anything else is sent.
	StartTLS bool

	// InsecurePlaintext allows ldap:// without StartTLS to other hosts than
	// the loopback ones, sending passwords readable over the network.
	InsecurePlaintext bool

	// Connections bounds the connections to one server. With a service account
	// half of them are for its look-ups. Default: 8
	Connections int

	// Queue bounds the sign-ins that wait for a connection; one more is
	// refused at once. Default: 64
	Queue int

	// Timeout bounds one sign-in. Default: 10 s
	Timeout time.Duration

	// Groups are the references that the configuration uses, each a SID, a DN
	// or a name. What reads as a DN is one. See Directory.Group.
	Groups []string

	// Logger gets what an operator must act on. Never passwords. Required.
	Logger *slog.Logger
}

// Format prints c without its password, whatever the verb: a Config ends up in
// error texts and debug output sooner or later.
func (c Config) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "{label %q kind %q servers %q bind %q base_dn %q group_base %q user_filter %q}",
		c.Label, c.Kind, c.serversForPrint(), c.BindUser, c.BaseDN, c.GroupBase, c.UserFilter)
}

// LogValue is Format's form for slog.
func (c Config) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("label", c.Label),
		slog.String("kind", string(c.Kind)),
		slog.Any("servers", c.serversForPrint()),
		slog.String("bind", c.BindUser),
		slog.String("base_dn", c.BaseDN),
	)
}

func (c Config) serversForPrint() []string {
	urls := make([]string, len(c.Servers))
	for i, u := range c.Servers {
		urls[i] = withoutUserinfo(u)
	}
	return urls
}

// Interface guards
var (
	_ fmt.Formatter  = Config{}
	_ slog.LogValuer = Config{}
)
