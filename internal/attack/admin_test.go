package attack

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"testing"
)

// admin sends a request to the admin endpoint of a running Caddy.
func (s *site) admin(t testing.TB, method, path, body string, fields ...string) reply {
	t.Helper()
	r, err := sendOver(&http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(s.dir, "admin.sock"))
	}}, method, "http://127.0.0.1"+path, body, fields...)
	if err != nil {
		t.Fatalf("%s %s on the admin endpoint: %v", method, path, err)
	}
	return r
}

// sessionCounts is what the store holds.
type sessionCounts struct{ Sessions, Users int }

func (s *site) sessionCounts(t testing.TB) sessionCounts {
	t.Helper()
	var counts sessionCounts
	r := s.admin(t, "GET", "/ldap_auth/counts", "")
	if err := json.Unmarshal([]byte(r.body), &counts); err != nil || r.status != http.StatusOK {
		t.Fatalf("asking for counts: %d %s", r.status, r.body)
	}
	return counts
}

// sessionIDs are the public ids of somebody's sessions.
func (s *site) sessionIDs(t testing.TB, username string) []string {
	t.Helper()
	return s.admin(t, "GET", "/ldap_auth/sessions?user="+username, "").sessionIDs(t)
}

// sessionIDs are those of an operator's list.
func (r reply) sessionIDs(t testing.TB) []string {
	t.Helper()
	var list struct{ Sessions []struct{ ID string } }
	if err := json.Unmarshal([]byte(r.body), &list); err != nil || r.status != http.StatusOK {
		t.Fatalf("asking for sessions: %d %s", r.status, r.body)
	}
	var ids []string
	for _, session := range list.Sessions {
		ids = append(ids, session.ID)
	}
	return ids
}

// endSessions has an operator end somebody's sessions.
func (s *site) endSessions(t testing.TB, username string) {
	t.Helper()
	if r := s.admin(t, "DELETE", "/ldap_auth/sessions?user="+username, ""); r.status != http.StatusOK {
		t.Errorf("ending the sessions of %s: %d %s", username, r.status, r.body)
	}
}
