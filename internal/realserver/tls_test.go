package realserver

import (
	"crypto/tls"
	"testing"
)

// ldaps:// is what the harness itself speaks to the servers; this is the other
// way to TLS.
func TestServersSpeakStartTLS(t *testing.T) {
	for _, test := range []struct {
		what   string
		server func(testing.TB) *server
	}{
		{"Samba", func(t testing.TB) *server { return &servers.Samba(t).server }},
		{"slapd", func(t testing.TB) *server { return &servers.Slapd(t).server }},
		{"389 Directory Server", func(t testing.TB) *server { return &servers.DS389(t).server }},
	} {
		t.Run(test.what, func(t *testing.T) {
			s := test.server(t)
			conn, err := dial(s.PlainURL, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.StartTLS(&tls.Config{RootCAs: s.CA.Pool(), ServerName: "127.0.0.1"}); err != nil {
				t.Fatalf("StartTLS: %v", err)
			}
			request := s.admin
			if _, err := conn.SimpleBind(&request); err != nil {
				t.Errorf("binding: %v", err)
			}
		})
	}
}
