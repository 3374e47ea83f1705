package realserver

import (
	"fmt"
	"os/exec"
	"strconv"
	"time"
)

// python runs a script on Samba's own database, past the rules of LDAP; sam is
// the open database there and sys.argv[2:] the arguments. The running
// controller shares the database and sees the changes.
func (s *Samba) python(script string, args ...string) error {
	const head = `
import sys, ldb
from samba import dsdb
from samba.auth import system_session
from samba.param import LoadParm
from samba.samdb import SamDB

lp = LoadParm()
lp.load(sys.argv[1])
sam = SamDB(session_info=system_session(), lp=lp)
`
	// Debian's Python: another one that is first in PATH has no Samba modules.
	command := exec.Command("/usr/bin/python3", append([]string{"-c", head + script, s.config}, args...)...)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("changing Samba's database: %w\n%s", err, out)
	}
	return nil
}

// agePasswords makes passwords of the people with these DNs ones that were set
// at these times. Over LDAP a pwdLastSet may only become 0 or now.
func (s *Samba) agePasswords(set map[string]time.Time) error {
	var args []string
	for dn, when := range set {
		args = append(args, dn, fileTime(when))
	}
	return s.python(`
for dn, when in zip(sys.argv[2::2], sys.argv[3::2]):
    message = ldb.Message()
    message.dn = ldb.Dn(sam, dn)
    message["pwdLastSet"] = ldb.MessageElement(when, ldb.FLAG_MOD_REPLACE, "pwdLastSet")
    # As Samba's own upgrade from older domains does it.
    sam.modify(message, controls=["local_oid:%s:0" % dsdb.DSDB_CONTROL_BYPASS_PASSWORD_HASH_OID])
`, args...)
}

// fileTime counts 100-nanosecond steps since 1601 (MS-DTYP 2.3.3).
func fileTime(t time.Time) string {
	const from1601 = 11644473600
	return strconv.FormatInt((t.Unix()+from1601)*1e7+int64(t.Nanosecond())/100, 10)
}
