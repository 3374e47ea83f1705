// Package caddyldap adds an Active Directory / LDAP sign-in to Caddy: importing
// it registers the modules of package caddyauth, so that
//
//	xcaddy build --with github.com/caddyauth/caddy-ldap
//
// is all that a build needs.
package caddyldap

import _ "github.com/caddyauth/caddy-ldap/caddyauth"
