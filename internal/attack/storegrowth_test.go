package attack

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// storeAnonymous are requests that no session stands behind, each another
// client's for all that the server can tell: those that create nothing.
func storeAnonymous(from, to int) []string {
	var texts []string
	for i := from; i < to; i++ {
		token := fmt.Sprintf("%043d", i)
		texts = append(texts,
			fmt.Sprintf("GET /accounts/login/?next=/%d HTTP/1.1\nHost: HOST\nAccept: text/html\n\n", i),
			fmt.Sprintf("GET /accounts/login/ HTTP/1.1\nHost: HOST\nCookie: sessionid=%s; csrftoken=%032d; ldap_device=%s\n\n", token, i, token),
			fmt.Sprintf("POST /api/logout/ HTTP/1.1\nHost: HOST\nCookie: sessionid=%s\nContent-Length: 0\n\n", token),
			fmt.Sprintf("GET /api/logout/ HTTP/1.1\nHost: HOST\nX-Forwarded-For: 10.%d.%d.%d\n\n", i>>16&255, i>>8&255, i&255),
			fmt.Sprintf("GET /%d HTTP/1.1\nHost: HOST\nCookie: sessionid=%s\n\n", i, token),
		)
	}
	return texts
}

// storeSend sends what storeAnonymous makes and looks at the answers.
func (s *site) storeSend(t testing.TB, from, to int) {
	t.Helper()
	const step = 400 // of five requests each, on one connection
	for ; from < to; from += step {
		for i, r := range s.burst(t, storeAnonymous(from, min(from+step, to))) {
			want := http.StatusOK
			if i%5 == 4 {
				want = http.StatusUnauthorized
			}
			if r.status != want {
				t.Fatalf("request %d: %d %s", i, r.status, r.body)
			}
		}
	}
}

// Nothing but a sign-in that succeeds makes a record, however often anonymous
// clients come for the page, sign out of nothing, or fail.
func TestP81AnonymousRequestsStoreNothing(t *testing.T) {
	t.Parallel()
	s := start(t, setup{auth: "throttle insecure_off"})
	juan := s.signIn(t, juan)
	before := s.sessionCounts(t)
	s.storeSend(t, 0, 2000)
	for range 3 {
		wantCode(t, s.trySignIn(t, maria, "falsa"), http.StatusUnauthorized, "invalid_credentials")
		wantCode(t, s.trySignIn(t, "nadie", ldaptest.DemoPassword), http.StatusUnauthorized, "invalid_credentials")
	}
	if after := s.sessionCounts(t); after != before || before.Sessions != 1 || before.Users != 1 {
		t.Errorf("there are %+v, before there were %+v", after, before)
	}
	s.wantNothingUpstream(t)
	wantServed(t, juan.get(t, "/"))
	s.signIn(t, maria)
	if after := s.sessionCounts(t); after.Sessions != 2 || after.Users != 2 {
		t.Errorf("after one more sign-in there are %+v", after)
	}
}

// storeGauge reads a metric of the running server, after a collection.
func (s *site) storeGauge(t testing.TB, name string) float64 {
	t.Helper()
	if r := s.admin(t, "GET", "/debug/pprof/heap?gc=1", ""); r.status != http.StatusOK {
		t.Fatalf("collecting garbage: %d", r.status)
	}
	body := s.admin(t, "GET", "/metrics", "").body
	found := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(body)
	if found == nil {
		t.Fatalf("there is no metric %s", name)
	}
	value, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// What anonymous clients make the server remember has a bound: from then on its
// memory stays as it is.
func TestP14AnonymousRequestsLeaveNothingInMemory(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	s.storeSend(t, 0, 500)
	heap, routines := s.storeGauge(t, "go_memstats_heap_alloc_bytes"), s.storeGauge(t, "go_goroutines")
	s.storeSend(t, 500, 2500)
	// A hundred and fifty bytes kept for each would show.
	if grown := s.storeGauge(t, "go_memstats_heap_alloc_bytes") - heap; grown > 1500<<10 {
		t.Errorf("10000 anonymous requests left %.0f bytes in memory", grown)
	}
	if more := s.storeGauge(t, "go_goroutines") - routines; more > 20 {
		t.Errorf("10000 anonymous requests left %.0f goroutines", more)
	}
	if labels := strings.Count(s.admin(t, "GET", "/metrics", "").body, "\n"); labels > 3000 {
		t.Errorf("there are %d lines of metrics", labels)
	}
}
