package ldaptest

// DemoPassword is the password of every account of Demo.
const DemoPassword = "secreto"

// Demo is the directory of the demonstration: the domain empresa.local with
// two people who can sign in and three who cannot.
func Demo() Directory {
	return Directory{
		Domain:  "empresa.local",
		NetBIOS: "EMPRESA",
		Groups: []Group{
			{Name: "Empleados"},
			{Name: "Ingenieria", MemberOf: []string{"Empleados"}},
			{Name: "IT Admins"},
		},
		Users: []User{
			{
				SAMAccountName: "ac12345", UPN: "ac12345@empresa.local", Password: DemoPassword,
				GivenName: "Juan", Surname: "Pérez", DisplayName: "Juan Pérez",
				Mail: "ac12345@empresa.local", Title: "Ingeniero de operaciones", Manager: "mgarcia",
				MemberOf: []string{"Ingenieria"},
			},
			{
				SAMAccountName: "mgarcia", UPN: "mgarcia@empresa.local", Password: DemoPassword,
				GivenName: "María", Surname: "García", DisplayName: "María García",
				Mail: "mgarcia@empresa.local", Title: "Responsable de sistemas",
				MemberOf: []string{"IT Admins"},
			},
			{
				SAMAccountName: "expirada", UPN: "expirada@empresa.local", Password: DemoPassword,
				GivenName: "Elena", Surname: "Expirada", State: Expired,
			},
			{
				SAMAccountName: "bloqueada", UPN: "bloqueada@empresa.local", Password: DemoPassword,
				GivenName: "Berta", Surname: "Bloqueada", State: Locked,
			},
			{
				SAMAccountName: "deshabilitada", UPN: "deshabilitada@empresa.local", Password: DemoPassword,
				GivenName: "Diana", Surname: "Deshabilitada", State: Disabled,
			},
		},
	}
}
