package ldap

import (
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

func serviceConfig(s *ldaptest.Server) Config {
	config := adConfig(s)
	config.BindUser, config.BindPassword = "mgarcia@empresa.local", "secreto"
	config.Groups = []string{"Ingenieria", "Nada"}
	return config
}

func TestBackgroundRefresh(t *testing.T) {
	t.Run("Active Directory", func(t *testing.T) {
		s := serve(t, ldaptest.Demo())
		d, _ := open(t, serviceConfig(s))
		for range 100 {
			d.Group("Ingenieria")
		}
		eventually(t, "the group is resolved", func() bool { _, ok := d.Group("Ingenieria"); return ok })
		for range 100 {
			d.Group("Nada")
		}
		time.Sleep(50 * time.Millisecond)
		if s.Connections() != 1 || s.Binds() != 1 {
			t.Errorf("%d connections, %d binds, want one refresh", s.Connections(), s.Binds())
		}
	})
	t.Run("generic", func(t *testing.T) {
		s := serve(t, plainDirectory())
		config := plainConfig(s)
		config.Kind, config.GroupBase, config.Groups = KindAuto, "ou=groups,"+plainBase, []string{"Ingenieria", "Operadores"}
		d, _ := open(t, config)
		eventually(t, "the groups are resolved", func() bool {
			_, one := d.Group("Ingenieria")
			_, two := d.Group("Operadores")
			return one && two
		})
	})
	t.Run("a later try", func(t *testing.T) {
		s := serve(t, ldaptest.Demo())
		config := serviceConfig(s)
		config.Servers = append([]string{"ldap://" + closedPort(t)}, config.Servers...)
		d, l := open(t, config)
		d.limits.refresh = time.Millisecond
		s.Stall(ldaptest.StallSearch)
		d.Group("Ingenieria")
		eventually(t, "the failure is logged", func() bool { return l.count("cannot be looked up") == 1 })
		s.Stall(ldaptest.StallNever)
		eventually(t, "the group is resolved", func() bool { _, ok := d.Group("Ingenieria"); return ok })
	})
	t.Run("Close ends it", func(t *testing.T) {
		s := serve(t, ldaptest.Demo())
		d, _ := open(t, serviceConfig(s))
		d.limits = defaultLimits(defaultTimeout)
		s.Stall(ldaptest.StallBind)
		d.Group("Ingenieria")
		eventually(t, "the bind arrives", func() bool { return s.Binds() == 1 })
		start := time.Now()
		d.Close()
		if took := time.Since(start); took > time.Second {
			t.Errorf("Close took %v", took)
		}
		d.Group("Ingenieria")
		if s.Connections() != 1 {
			t.Error("a closed directory connected")
		}
	})
	t.Run("never two at once", func(t *testing.T) {
		s := serve(t, ldaptest.Demo())
		d, _ := open(t, serviceConfig(s))
		d.limits.refresh = 0
		s.Stall(ldaptest.StallBind)
		for range 50 {
			d.Group("Ingenieria")
			time.Sleep(time.Millisecond)
		}
		d.mu.Lock()
		refreshing := d.refreshing
		d.mu.Unlock()
		if s.Connections() != 1 || !refreshing {
			t.Errorf("%d connections, refreshing %v", s.Connections(), refreshing)
		}
	})
	t.Run("rejected service account", func(t *testing.T) {
		s := serve(t, ldaptest.Demo())
		config := serviceConfig(s)
		config.BindPassword = "old"
		d, l := open(t, config)
		d.limits.refresh = time.Millisecond
		eventually(t, "the failure is logged", func() bool { d.Group("Ingenieria"); return l.count("cannot be looked up") == 1 })
		for range 20 {
			d.Group("Ingenieria")
			time.Sleep(2 * time.Millisecond)
		}
		if s.Binds() != 1 {
			t.Errorf("%d binds of a rejected account", s.Binds())
		}
		mustSignIn(t, d, "ac12345", "secreto") // needs no service account
	})
}
