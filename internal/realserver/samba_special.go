package realserver

import (
	"fmt"

	"github.com/go-ldap/ldap/v3"
)

// SambaSpecial are people and groups whose names hold what is special in a DN
// or a filter. "=" is missing: Samba refuses it in a value, escaped or not.
type SambaSpecial struct {
	// Special are people, each with a sAMAccountName in plain letters; the
	// last has every special character in its name.
	Special []Account

	// SpecialGroups are DNs of groups with the same CNs as Special. Each has
	// the account of the same index as its member, and the last has all.
	SpecialGroups []string
}

func sambaSpecial() SambaSpecial {
	names := []string{
		"Coma, coma", "Punto; coma", `Comi"llas"`, "Menor<Mayor>", "Más+Suma", `Barra\Inversa`,
		`Barra\2aFalsa`, "Aste*risco", "Parén(tesis)", "#Almohadilla", "Al#medio", "Entre/dos",
		"D'Alembert", " Espacio delante", "Espacio detrás ", "Dos  espacios", "Ampersand & Cía",
		"Ñandú José", `Todo,;"<>+\*()#/'é& `,
	}
	var s SambaSpecial
	for i, name := range names {
		a := sambaPerson(fmt.Sprintf("especial-%02d", i+1), fmt.Sprintf("Clave-Especial-%02d", i+1), "", name)
		s.Special = append(s.Special, a)
		s.SpecialGroups = append(s.SpecialGroups, "CN="+ldap.EscapeDN(name)+","+sambaGroup)
	}
	return s
}

func (s *Samba) addSpecial(conn *ldap.Conn) error {
	var all []string
	for i, a := range s.Special {
		if err := addPerson(conn, a, nil); err != nil {
			return err
		}
		all = append(all, a.DN)
		members := []string{a.DN}
		if i == len(s.Special)-1 {
			members = all
		}
		group := groupAttributes(fmt.Sprintf("grupo-especial-%02d", i+1), globalSecurity, members...)
		if err := add(conn, s.SpecialGroups[i], group); err != nil {
			return err
		}
	}
	return nil
}
