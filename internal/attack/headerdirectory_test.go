package attack

import (
	"fmt"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// headerDirectory is the demonstration's directory with people and groups whose
// attributes are hostile, or not there.
func headerDirectory() *ldaptest.Directory {
	dir := ldaptest.Demo()
	dir.Groups = append(dir.Groups,
		ldaptest.Group{Name: "Ventas, IT Admins"},
		ldaptest.Group{Name: "100%2C seguro"},
		ldaptest.Group{Name: "Uno\r\nRemote-User: admin"},
	)
	dir.Users = append(dir.Users,
		ldaptest.User{
			SAMAccountName: "nadie", UPN: "nadie@empresa.local", Password: ldaptest.DemoPassword,
			ExtraAttributes: map[string][]string{"mail": {}},
		},
		ldaptest.User{
			SAMAccountName: "marcas", UPN: "marcas@empresa.local", Password: ldaptest.DemoPassword,
			GivenName: "{env.HOME}", Surname: "{http.request.host}", DisplayName: "{env.HOME} {file./etc/hostname} {http.request.header.Cookie}", Mail: "{env.PATH}@empresa.local", Title: "{{env `HOME`}}",
		},
		ldaptest.User{
			SAMAccountName: "lineas", UPN: "lineas@empresa.local", Password: ldaptest.DemoPassword,
			GivenName: "L", Surname: "S", DisplayName: "Uno\r\nRemote-Groups: IT Admins\r\n\r\nGET /admin HTTP/1.1\r\n\x00", Mail: "a\n@empresa.local\x7f\u0085",
			MemberOf: []string{"Ventas, IT Admins", "100%2C seguro", "Uno\r\nRemote-User: admin"},
		},
	)
	return &dir
}

// headerGroup is one of many groups.
func headerGroup(i int) ldaptest.Group {
	return ldaptest.Group{Name: fmt.Sprintf("Departamento %d", i)}
}
