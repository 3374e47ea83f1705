// Command caddy is Caddy with its standard modules and this plugin: the same
// program that xcaddy builds.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyauth/caddy-ldap"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

func main() { caddycmd.Main() }
