package realserver

import (
	"fmt"

	"github.com/go-ldap/ldap/v3"
)

const (
	sambaBase   = "DC=corp,DC=test"
	sambaPeople = "OU=Personas," + sambaBase
	sambaGroup  = "OU=Grupos," + sambaBase
	sambaOther  = "OU=Traslados," + sambaBase

	passwordSettings = "CN=Password Settings Container,CN=System," + sambaBase
)

// SambaAccounts are the people of the domain. Every password differs, so that
// a mix-up of two accounts shows.
type SambaAccounts struct {
	// Juan has non-ASCII names, a non-ASCII password and every attribute. He is
	// in Engineering, and through it in Staff and in all of Levels.
	Juan Account
	// Munoz has a sAMAccountName with a letter outside ASCII: muñoz.
	Munoz Account
	// Maria is Juan's manager and in RnD.
	Maria Account
	// NoUPN has no userPrincipalName, mail or givenName.
	NoUPN Account
	// TwinA and TwinB have the same mail address.
	TwinA, TwinB Account

	// Victim is who Eve wants to be. Eve's userPrincipalName is Victim's
	// sAMAccountName at another suffix.
	Victim, Eve Account
	// CrossA's userPrincipalName is CrossB's sAMAccountName at another suffix,
	// and the other way round.
	CrossA, CrossB Account

	Disabled, AccountExpired, LogonHours, Workstation Account
	PasswordExpired, MustChange                       Account

	// WeeklyPassword's password is eight days old: young by the rule of the
	// domain, 42 days, and expired by the password settings object that
	// applies to it, seven days.
	WeeklyPassword Account

	// Clumsy is locked out for 30 minutes by 3 wrong passwords. Tests that
	// count binds read its badPwdCount.
	Clumsy Account
	// Locked is locked out since the domain was filled.
	Locked Account

	// Service may read the domain, as every account may, and nothing else.
	Service Account
}

// SambaGroups are DNs of groups.
type SambaGroups struct {
	Engineering string     // sAMAccountName Ingeniería; in Staff and in Levels[0]
	Staff       string     // sAMAccountName staff; Juan only through Engineering
	Levels      [10]string // nivel-01 … nivel-10, each in the next, the last in the first
	RnD         string     // CN "R&D, Compras", sAMAccountName R&D Compras
	Newsletter  string     // a distribution group, which is in nobody's token
	Outsiders   string     // has no member at all
}

func sambaGroups() SambaGroups {
	g := SambaGroups{
		Engineering: "CN=Ingeniería," + sambaGroup,
		Staff:       "CN=Plantilla," + sambaGroup,
		RnD:         `CN=R&D\, Compras,` + sambaGroup,
		Newsletter:  "CN=Boletín," + sambaGroup,
		Outsiders:   "CN=Externos," + sambaGroup,
	}
	for i := range g.Levels {
		g.Levels[i] = fmt.Sprintf("CN=nivel-%02d,%s", i+1, sambaGroup)
	}
	return g
}

func sambaAccounts() SambaAccounts {
	a := SambaAccounts{
		Juan:   sambaPerson("juan", "Contraseña-de-Juan-1", "Juan", "Pérez Muñoz"),
		Munoz:  sambaPerson("muñoz", "Clave-de-Munoz-2", "Íñigo", "Muñoz Ñáñez"),
		Maria:  sambaPerson("maria", "Clave-de-Maria-3", "María", "García"),
		NoUPN:  sambaPerson("sinupn", "Clave-de-SinUPN-4", "", "Solitario"),
		TwinA:  sambaPerson("gemelo1", "Clave-de-Gemelo1-5", "Cástor", "Gemelo"),
		TwinB:  sambaPerson("gemelo2", "Clave-de-Gemelo2-6", "Pólux", "Gemelo"),
		Victim: sambaPerson("pb_victim", "Clave-de-Victim-7", "Victoria", "Víctima"),
		Eve:    sambaPerson("pb_eve", "Clave-de-Eve-8", "Eva", "Atacante"),
		CrossA: sambaPerson("cruz_a", "Clave-de-CruzA-9", "Ana", "Cruzada"),
		CrossB: sambaPerson("cruz_b", "Clave-de-CruzB-10", "Blas", "Cruzado"),

		Disabled:        sambaPerson("deshabilitada", "Clave-Deshab-11", "Delia", "Deshabilitada"),
		AccountExpired:  sambaPerson("caducada", "Clave-Caducada-12", "Carla", "Caducada"),
		LogonHours:      sambaPerson("sinhoras", "Clave-SinHoras-13", "Sara", "Sinhoras"),
		Workstation:     sambaPerson("otropuesto", "Clave-OtroPuesto-14", "Óscar", "Otropuesto"),
		PasswordExpired: sambaPerson("expirada", "Clave-Expirada-15", "Elena", "Expirada"),
		MustChange:      sambaPerson("debecambiar", "Clave-DebeCambiar-16", "Diego", "Debecambiar"),
		WeeklyPassword:  sambaPerson("semanal", "Clave-Semanal-21", "Sonia", "Semanal"),
		Clumsy:          sambaPerson("torpe", "Clave-Torpe-17", "Teo", "Torpe"),
		Locked:          sambaPerson("bloqueada", "Clave-Bloqueada-18", "Berta", "Bloqueada"),
		Service:         sambaPerson("svc-caddy", "Clave-Servicio-19", "", "Servicio Caddy"),
	}
	a.Juan.Title, a.Juan.Manager = "Ingeniero", a.Maria.DN
	// mail is an IA5 string: no letter outside ASCII.
	a.Munoz.Email = "inigo.munoz@corp.test"
	a.NoUPN.UPN, a.NoUPN.Email = "", ""
	a.TwinA.Email, a.TwinB.Email = "gemelos@corp.test", "gemelos@corp.test"
	a.Eve.UPN = "pb_victim@other.example"
	a.CrossA.UPN, a.CrossB.UPN = "cruz_b@other.example", "cruz_a@other.example"
	return a
}

func sambaPerson(username, password, first, last string) Account {
	name := last
	if first != "" {
		name = first + " " + last
	}
	return Account{
		Username: username, Password: password,
		FirstName: first, LastName: last, Name: name,
		DN:    "CN=" + ldap.EscapeDN(name) + "," + sambaPeople,
		Email: username + "@corp.test", UPN: username + "@corp.test",
	}
}
