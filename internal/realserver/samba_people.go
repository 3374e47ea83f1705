package realserver

import "fmt"

const (
	sambaBase   = "DC=corp,DC=test"
	sambaPeople = "OU=Personas," + sambaBase
	sambaGroup  = "OU=Grupos," + sambaBase
	lockoutPSO  = "CN=bloqueo,CN=Password Settings Container,CN=System," + sambaBase
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
	person := func(username, password, first, last string) Account {
		name := last
		if first != "" {
			name = first + " " + last
		}
		return Account{
			Username: username, Password: password,
			FirstName: first, LastName: last, Name: name,
			DN:    "CN=" + name + "," + sambaPeople,
			Email: username + "@corp.test", UPN: username + "@corp.test",
		}
	}
	a := SambaAccounts{
		Juan:   person("juan", "Contraseña-de-Juan-1", "Juan", "Pérez Muñoz"),
		Munoz:  person("muñoz", "Clave-de-Munoz-2", "Íñigo", "Muñoz Ñáñez"),
		Maria:  person("maria", "Clave-de-Maria-3", "María", "García"),
		NoUPN:  person("sinupn", "Clave-de-SinUPN-4", "", "Solitario"),
		TwinA:  person("gemelo1", "Clave-de-Gemelo1-5", "Cástor", "Gemelo"),
		TwinB:  person("gemelo2", "Clave-de-Gemelo2-6", "Pólux", "Gemelo"),
		Victim: person("pb_victim", "Clave-de-Victim-7", "Victoria", "Víctima"),
		Eve:    person("pb_eve", "Clave-de-Eve-8", "Eva", "Atacante"),
		CrossA: person("cruz_a", "Clave-de-CruzA-9", "Ana", "Cruzada"),
		CrossB: person("cruz_b", "Clave-de-CruzB-10", "Blas", "Cruzado"),

		Disabled:        person("deshabilitada", "Clave-Deshab-11", "Delia", "Deshabilitada"),
		AccountExpired:  person("caducada", "Clave-Caducada-12", "Carla", "Caducada"),
		LogonHours:      person("sinhoras", "Clave-SinHoras-13", "Sara", "Sinhoras"),
		Workstation:     person("otropuesto", "Clave-OtroPuesto-14", "Óscar", "Otropuesto"),
		PasswordExpired: person("expirada", "Clave-Expirada-15", "Elena", "Expirada"),
		MustChange:      person("debecambiar", "Clave-DebeCambiar-16", "Diego", "Debecambiar"),
		Clumsy:          person("torpe", "Clave-Torpe-17", "Teo", "Torpe"),
		Locked:          person("bloqueada", "Clave-Bloqueada-18", "Berta", "Bloqueada"),
		Service:         person("svc-caddy", "Clave-Servicio-19", "", "Servicio Caddy"),
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
