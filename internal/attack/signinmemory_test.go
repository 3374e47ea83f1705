package attack

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// signInResident is how much memory the site's Caddy has, in bytes.
func signInResident(t *testing.T, s *site) int {
	t.Helper()
	// A child of this process whose working files are this site's: found by the
	// argument that no other has.
	entries, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		command, err := os.ReadFile(entry)
		if err != nil || !strings.Contains(string(command), filepath.Join(s.dir, "Caddyfile")) || !strings.Contains(string(command), "\x00run\x00") {
			continue
		}
		status, err := os.ReadFile(filepath.Join(filepath.Dir(entry), "status"))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(status)) {
			if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
				kilobytes, err := strconv.Atoi(strings.Fields(rest)[0])
				if err != nil {
					t.Fatal(err)
				}
				return kilobytes << 10
			}
		}
	}
	t.Fatal("the process is not there")
	return 0
}

// signInAnonymously sends n requests for pages, sign-outs and protected things
// of nobody, each with 16 KiB of its own, over one connection.
func signInAnonymously(t *testing.T, s *site, n int) {
	t.Helper()
	conn := s.dial(t, "http/1.1")
	defer conn.Close()
	in := bufio.NewReader(conn)
	for i := range n {
		_ = conn.SetDeadline(time.Now().Add(30 * time.Second)) // for one request
		path := []string{"/accounts/login/?next=/", "/api/logout/?", "/api/session/?", "/protected/", "/accounts/sessions/?"}[i%5]
		own := fmt.Sprint(i)
		_, err := fmt.Fprintf(conn, "GET %s%s HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nCookie: csrftoken=%032d; x=%s\r\nX-Own: %s\r\n\r\n",
			path, strings.Repeat(own, 4096/len(own)), s.port, i, strings.Repeat(own, 6144/len(own)), strings.Repeat(own, 6144/len(own)))
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		if response.StatusCode >= 500 {
			t.Fatalf("%s: %d", path, response.StatusCode)
		}
	}
}

// Whatever nobody in particular asks for, nothing of it is kept: neither in
// memory nor in the store.
func TestP14AnonymousRequestsLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("the memory of another process is read from /proc")
	}
	s := start(t, setup{})
	signInAnonymously(t, s, 500)
	before := signInResident(t, s)
	signInAnonymously(t, s, 5000) // 80 MiB
	if grown := signInResident(t, s) - before; grown > 40<<20 {
		t.Errorf("5000 anonymous requests cost %d MiB", grown>>20)
	}
	r := s.admin(t, "GET", "/ldap_auth/counts", "")
	if r.status != 200 || !strings.Contains(r.body, `"sessions":0`) {
		t.Errorf("the store holds %s", r.body)
	}
}
