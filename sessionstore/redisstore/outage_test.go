package redisstore

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/sessionstore/storetest"
)

func TestAnOutageIsWrittenDownOnce(t *testing.T) {
	refused := func(port string) error { return errors.New("dial tcp 192.0.2.1:" + port + ": connection refused") }
	const start, other, over = "ERROR 503", "ERROR another reason", "INFO works again"
	for _, test := range []struct {
		name string
		do   func(o *outage, pass func(time.Duration))
		want []string
	}{
		{"nothing fails", func(o *outage, _ func(time.Duration)) { o.works() }, nil},
		{"many attempts", func(o *outage, pass func(time.Duration)) {
			for _, port := range []string{"1", "22", "333"} {
				o.failed(refused(port))
				pass(time.Hour)
			}
			o.works()
			o.works()
		}, []string{start, over}},
		{"another reason soon", func(o *outage, pass func(time.Duration)) {
			o.failed(refused("1"))
			pass(time.Second)
			o.failed(errSilent)
			pass(time.Second)
			o.failed(refused("1"))
		}, []string{start, other}},
		{"another reason in each of two outages", func(o *outage, _ func(time.Duration)) {
			for range 2 {
				o.failed(refused("1"))
				o.failed(errSilent)
				o.works()
			}
		}, []string{start, other, over, start, other, over}},
		{"reasons in turn", func(o *outage, pass func(time.Duration)) {
			for range 65 {
				o.failed(refused("1"))
				pass(time.Second)
				o.failed(errSilent)
				pass(time.Second)
			}
		}, []string{start, other, other, other}},
		{"two outages", func(o *outage, _ func(time.Duration)) {
			o.failed(errSilent)
			o.works()
			o.failed(errSilent)
			o.works()
		}, []string{start, over, start, over}},
	} {
		t.Run(test.name, func(t *testing.T) {
			log := &buffer{}
			o := newOutage(slog.New(slog.NewTextHandler(log, nil)), []string{"192.0.2.1:6379"})
			now := time.Now()
			o.now = func() time.Time { return now }
			test.do(o, func(d time.Duration) { now = now.Add(d) })
			lines := strings.Split(strings.TrimSuffix(log.String(), "\n"), "\n")
			if log.String() == "" {
				lines = nil
			}
			if len(lines) != len(test.want) {
				t.Fatalf("%d lines, want %d:\n%s", len(lines), len(test.want), log)
			}
			for i, want := range test.want {
				level, text, _ := strings.Cut(want, " ")
				if !strings.Contains(lines[i], "level="+level) || !strings.Contains(lines[i], text) {
					t.Errorf("%s, want %s", lines[i], want)
				}
			}
		})
	}
}

// A failure is one line in the log, one more when there is another reason, and one
// when it is over, however many calls fail meanwhile.
func TestAFailureIsLoggedOnce(t *testing.T) {
	server := realserver.NewRedis(t, realserver.RedisOptions{})
	log := &buffer{}
	s := openLogging(t, Options{Addresses: []string{server.Addr}}, log)
	works(t, s)
	if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "sessions are kept in Redis") {
		t.Errorf("not one line at the start:\n%s", text)
	}
	server.Kill()
	eventually(t, "logged", func() bool { return strings.Contains(log.String(), "level=ERROR") })
	for range 50 {
		if _, _, _, err := s.Get(t.Context(), storetest.NewKey()); err == nil {
			t.Error("a server that is down answers")
		}
	}
	time.Sleep(3 * healthEvery)
	server.Restart(t)
	eventually(t, "works again", func() bool { return strings.Contains(log.String(), "sessions works again") })
	// That its sockets closed, and then that nobody takes new ones, are two reasons.
	text := log.String()
	others := strings.Count(text, "for another reason")
	if others > 1 || strings.Count(text, "\n") != 3+others {
		t.Errorf("more lines than one each:\n%s", text)
	}
}
