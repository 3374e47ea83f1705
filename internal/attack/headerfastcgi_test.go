package attack

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/fcgi"
	"strings"
	"sync"
	"testing"
)

// headerFastCGI is an upstream that gets headers as variables, as PHP does: one
// for all spellings. It returns the address and the variables of a request that
// was just answered.
func headerFastCGI(t *testing.T) (addr string, last func() map[string]string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var seen map[string]string
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = fcgi.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			variables := map[string]string{"REMOTE_USER": fcgi.ProcessEnv(r)["REMOTE_USER"]}
			for name, values := range r.Header {
				variables["HTTP_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))] = strings.Join(values, "|")
			}
			mu.Lock()
			seen = variables
			mu.Unlock()
			_, _ = io.WriteString(w, "upstream "+r.URL.Path)
		}))
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-served
	})
	return listener.Addr().String(), func() map[string]string {
		mu.Lock()
		defer mu.Unlock()
		return seen
	}
}

// Behind FastCGI Remote-Groups and Remote_Groups are one variable, and which of
// them it holds is chance.
func TestP18FoldedNamesBehindFastCGI(t *testing.T) {
	t.Parallel()
	addr, last := headerFastCGI(t)
	s := start(t, setup{
		server: "expected_underscore_headers Remote_* _*\nexpected_dot_headers Remote.* .*",
		site: fmt.Sprintf(`
	require_session {
		public /open/*
		require /it/* "IT Admins"
	}
	reverse_proxy %s {
		transport fastcgi {
			root DIR
			env REMOTE_USER {http.auth.user.id}
		}
	}`, addr),
	})
	cookie := s.signIn(t, juan).cookie()
	for _, path := range []string{"/open/x", "/inside"} {
		want := map[string]string{}
		if path == "/inside" {
			want = map[string]string{"REMOTE_USER": "ac12345", "HTTP_REMOTE_USER": "ac12345", "HTTP_REMOTE_NAME": "Juan Pérez", "HTTP_REMOTE_EMAIL": "ac12345@empresa.local"}
		}
		for _, names := range [][]string{
			{"Remote_User", "Remote_Groups", "Remote_Email", "Remote_Name"},
			{"Remote.User", "Remote.Groups"},
			{"Remote-User", "Remote-Groups", "Remote~Groups", "Remote--Groups", "_Remote_Groups", "Remote_Groups_"},
		} {
			wantServed(t, s.raw(t, "GET "+path+" HTTP/1.1\nHost: HOST\nCookie: "+cookie+"\n"+headerLines(names...)+"\n"))
			got := last()
			for _, name := range []string{"REMOTE_USER", "HTTP_REMOTE_USER", "HTTP_REMOTE_NAME", "HTTP_REMOTE_EMAIL", "HTTP_REMOTE_GROUPS"} {
				if got[name] != want[name] {
					t.Errorf("%s with %q: %s is %q, want %q", path, names, name, got[name], want[name])
				}
			}
			if strings.Contains(fmt.Sprint(got), headerForged) {
				t.Errorf("%s with %q: a forged value arrived: %v", path, names, got)
			}
		}
	}
}
