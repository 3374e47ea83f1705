// Package realserver starts the real servers that tests run against: a Samba
// Active Directory domain controller, OpenLDAP's slapd, 389 Directory Server and
// Redis, all from Debian's packages, on 127.0.0.1, with certificates of a CA of
// the test's own and in folders that go away with them.
//
// A server that is not installed, or cannot be started here, is a reason to
// skip; with the environment variable CADDY_LDAP_REQUIRE_SERVERS=1, which
// `make test` sets, it is a failure. A server that starts and then misbehaves
// is a failure always.
package realserver
