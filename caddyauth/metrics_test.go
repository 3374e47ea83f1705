package caddyauth

import (
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// samples are our series at an admin endpoint.
func (a *admin) samples(t *testing.T) map[string]float64 {
	t.Helper()
	answer := a.do("GET", "/metrics")
	if answer.StatusCode != 200 {
		t.Fatalf("GET /metrics: %d %s", answer.StatusCode, answer.body)
	}
	samples := make(map[string]float64)
	for line := range strings.Lines(answer.body) {
		series, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || !strings.HasPrefix(series, "caddy_ldap_auth_") {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatalf("reading %q: %v", line, err)
		}
		samples[series] = n
	}
	return samples
}

// risen checks by how much a series has risen.
func risen(t *testing.T, before, after map[string]float64, series string, want float64) {
	t.Helper()
	series = "caddy_ldap_auth_" + series
	if got := after[series] - before[series]; got != want {
		t.Errorf("%s has risen by %v from %v, want %v", series, got, before[series], want)
	}
}

func startMeasured(t *testing.T) (*reloaded, *admin) {
	t.Helper()
	storage, faults := faultyStorage(t)
	s := &reloaded{
		server: newServer(t, setup{storage: storage, site: "require_session {\nrequire /admins/* \"IT Admins\"\n}\nreverse_proxy UPSTREAM"}),
		faults: faults, folder: strings.TrimPrefix(storage, "storage test "),
	}
	s.resource = (&testStorage{Folder: s.folder}).Resource()
	return s, s.withAdmin(t)
}

func TestMetricsCountWhatHappens(t *testing.T) {
	s, admin := startMeasured(t)
	before := admin.samples(t)
	for _, series := range []string{
		`sign_ins_total{result="ok"}`, `sign_ins_total{result="refused"}`, `sign_ins_total{result="unavailable"}`,
		`sessions_ended_total{reason="sign_out"}`, `sessions_ended_total{reason="password_changed"}`, `store_errors_total`, `sessions_in_memory`,
	} {
		if _, ok := before["caddy_ldap_auth_"+series]; !ok {
			t.Errorf("%s is not there from the start", series)
		}
	}

	c := s.signIn("ac12345")
	out := s.signIn("mgarcia")
	again := s.do("POST", "/api/login-ldap/", jsonBody(goodJSON), c.cookies)
	want(t, again, 200, bodySignedIn)
	c = signedIn{token: again.cookie("sessionid"), csrf: again.cookie("csrftoken")}
	want(t, s.do("POST", "/api/login-ldap/", jsonBody(credentialsJSON("ac12345", "no"))), 401, bodyInvalidCredentials)
	want(t, s.do("GET", "/api/logout/", out.cookies), 200, bodySignedOut)
	want(t, s.do("GET", "/x"), 401, bodyAuthenticationRequired)
	if got := s.do("GET", "/x", navigation); got.StatusCode != 303 {
		t.Errorf("a navigation: %d", got.StatusCode)
	}
	want(t, s.do("GET", "/admins/x", c.cookies), 403, bodyGroup)
	want(t, s.do("POST", "/x", c.cookies, form("a=b")), 403, bodyCSRF)
	for range 10 {
		want(t, s.do("GET", "/x", c.cookies), 200, "upstream")
	}
	s.faults.down.Store(true)
	unknown := header("Cookie", "sessionid="+strings.Repeat("A", 43))
	want503(t, s.do("GET", "/x", unknown), bodyStore)
	want503(t, s.do("POST", "/api/login-ldap/", jsonBody(goodJSON)), signInStoreDown)
	s.faults.down.Store(false)
	s.faults.invalid.Store(true)
	want(t, s.do("GET", "/x", unknown), 401, bodyAuthenticationRequired)
	s.faults.invalid.Store(false)

	after := admin.samples(t)
	risen(t, before, after, `sign_ins_total{result="ok"}`, 3)
	risen(t, before, after, `sign_ins_total{result="refused"}`, 1)
	risen(t, before, after, `sign_ins_total{result="unavailable"}`, 1)
	risen(t, before, after, `sessions_ended_total{reason="sign_out"}`, 1)
	risen(t, before, after, `sessions_ended_total{reason="replaced"}`, 1)
	risen(t, before, after, `sessions_ended_total{reason="invalid_record"}`, 1)
	risen(t, before, after, `refusals_total{code="authentication_required"}`, 3)
	risen(t, before, after, `refusals_total{code="invalid_credentials"}`, 1)
	risen(t, before, after, `refusals_total{code="group_required"}`, 1)
	risen(t, before, after, `refusals_total{code="csrf_failed"}`, 1)
	risen(t, before, after, `refusals_total{code="store_unavailable"}`, 2)
	risen(t, before, after, `store_errors_total`, 2)
	risen(t, before, after, `sessions_in_memory`, 1)
}

// TestMetricsNameNobody: every label is of a closed set, so that no client can
// make series, and no user, address or path gets into them.
func TestMetricsNameNobody(t *testing.T) {
	s, admin := startMeasured(t)
	c := s.signIn("ac12345")
	for i := range 3 {
		s.do("GET", fmt.Sprintf("/admins/%d", i), c.cookies)
		s.do("GET", fmt.Sprintf("/%d", i), header("Cookie", fmt.Sprintf("sessionid=%d", i)))
		s.do("POST", "/api/login-ldap/", jsonBody(credentialsJSON(fmt.Sprintf("nobody%d", i), ldaptest.DemoPassword)))
	}
	allowed := regexp.MustCompile(`^caddy_ldap_auth_(store_errors_total|sessions_in_memory|sign_ins_total\{result="[a-z]+"\}|sessions_ended_total\{reason="[a-z_]+"\}|refusals_total\{code="[a-z_]+"\})$`)
	series := admin.samples(t)
	for name := range series {
		if !allowed.MatchString(name) {
			t.Errorf("the series %s", name)
		}
	}
	if n := len(series); n > 60 {
		t.Errorf("there are %d series", n)
	}
}

// TestMetricsAndAdminAfterReloads: they tell of the configuration that serves,
// also where the admin endpoint is that of one which failed.
func TestMetricsAndAdminAfterReloads(t *testing.T) {
	s, admin := startMeasured(t)
	load := func(edit func(config map[string]any)) error {
		return s.loadJSON(s.edited(func(config map[string]any) {
			config["admin"] = map[string]any{"listen": admin.address, "config": map[string]any{"persist": false}}
			edit(config)
		}))
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	elsewhere, _ := faultyStorage(t)
	s.kept = s.signIn("ac12345")
	for _, test := range []struct {
		what  string
		fails bool
		edit  func(config map[string]any)
	}{
		{"that works", false, func(map[string]any) {}},
		{"with other options", false, func(c map[string]any) { at(t, c, "apps", "ldap_auth", "sessions")["same_site"] = "strict" }},
		{"that fails before the app is there", true, func(c map[string]any) {
			c["apps"] = map[string]any{"http": map[string]any{"no_such_option": true}}
		}},
		{"that fails in the app", true, func(c map[string]any) { at(t, c, "apps", "ldap_auth")["csrf"] = "x" }},
		{"that fails in a handler", true, func(c map[string]any) {
			at(t, c, "apps", "http", "servers", "srv0", "routes", 0, "handle", 0)["public"] = []any{"no-slash"}
		}},
		{"that fails when the other app starts", true, func(c map[string]any) {
			at(t, c, "apps", "http", "servers", "srv0")["listen"] = []any{taken.Addr().String()}
		}},
		{"that fails with another store open", true, func(c map[string]any) {
			at(t, c, "apps", "http", "servers", "srv0")["listen"] = []any{taken.Addr().String()}
			at(t, c, "apps", "ldap_auth", "sessions")["storage"] = map[string]any{"module": "test", "folder": strings.TrimPrefix(elsewhere, "storage test ")}
		}},
		{"that works again", false, func(map[string]any) {}},
	} {
		t.Run(test.what, func(t *testing.T) {
			for range 2 {
				before := admin.samples(t)
				if err := load(test.edit); (err != nil) != test.fails {
					t.Fatalf("loading: %v", err)
				}
				samples := admin.samples(t)
				for _, series := range []string{`sign_ins_total{result="ok"}`, `sessions_ended_total{reason="sign_out"}`, `sessions_in_memory`} {
					risen(t, before, samples, series, 0)
				}
				s.signIn("mgarcia")
				risen(t, before, admin.samples(t), `sign_ins_total{result="ok"}`, 1)
				risen(t, before, admin.samples(t), `sessions_in_memory`, 1)

				list := admin.sessions("?user=mgarcia").Sessions
				if len(list) != 1 {
					t.Fatalf("the list of the sessions: %+v", list)
				}
				if counts := admin.do("GET", "/ldap_auth/counts"); counts.StatusCode != 200 || !strings.Contains(counts.body, `"sessions":2`) {
					t.Errorf("the counts: %d %s", counts.StatusCode, counts.body)
				}
				if ended := admin.do("DELETE", "/ldap_auth/sessions/"+list[0].ID); ended.StatusCode != 200 {
					t.Errorf("ending a session: %d %s", ended.StatusCode, ended.body)
				}
				risen(t, before, admin.samples(t), `sessions_ended_total{reason="ended_by_operator"}`, 1)
				want(t, s.do("GET", "/x", s.kept.cookies), 200, "upstream")
				s.isOpen(t, 1, 0)
			}
		})
	}
	t.Run("that takes the plugin out", func(t *testing.T) {
		if err := s.load(strings.Replace(s.unplugged(), "admin off", "admin "+admin.address, 1)); err != nil {
			t.Fatal(err)
		}
		if list := admin.do("GET", "/ldap_auth/sessions"); list.StatusCode != 404 {
			t.Errorf("the list of the sessions: %d %s", list.StatusCode, list.body)
		}
		if n := admin.samples(t)["caddy_ldap_auth_sessions_in_memory"]; n != 0 {
			t.Errorf("%v sessions are in memory", n)
		}
		s.isClosed(t)
	})
}

// TestMetricsAreRegisteredOnce in each registry, and where somebody else has the
// name it is an error.
func TestMetricsAreRegisteredOnce(t *testing.T) {
	for range 2 {
		registry := prometheus.NewPedanticRegistry()
		for range 3 {
			if err := metrics.register(registry); err != nil {
				t.Fatal(err)
			}
		}
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		if len(families) < 4 {
			t.Errorf("%d metrics are there", len(families))
		}
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "caddy_ldap_auth_store_errors_total", Help: "of somebody else"}))
	if err := metrics.register(registry); err == nil {
		t.Error("somebody else's metric is taken for ours")
	}
}

// TestMetricsWhereThePluginIsNotInUse: a Caddy that merely has the plugin shows
// nothing of it.
func TestMetricsWhereThePluginIsNotInUse(t *testing.T) {
	s, admin := startMeasured(t)
	without := strings.Replace(s.unplugged(), "admin off", "admin "+admin.address, 1)
	for _, want := range []bool{true, false} { // of the load before
		if err := s.load(without); err != nil {
			t.Fatal(err)
		}
		if samples := admin.samples(t); (len(samples) > 0) != want {
			t.Errorf("it shows %v", samples)
		}
	}
}

// endsForOtherReasons is how many sessions ended in this test run for a reason
// that is not in the closed set, and ought to be.
func endsForOtherReasons() (n float64) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics.sessionsEnded)
	families, _ := registry.Gather()
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if metric.GetLabel()[0].GetValue() == reasonOther {
				n += metric.GetCounter().GetValue()
			}
		}
	}
	return n
}
