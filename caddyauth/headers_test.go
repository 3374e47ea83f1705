package caddyauth

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestIdentityHeaderSpellings(t *testing.T) {
	s := newStripper(append(defaultIdentityHeaders().names(), "X-Auth-User"))
	for name, want := range map[string]bool{
		"Remote-User": true, "remote-user": true, "REMOTE-USER": true,
		"Remote_User": true, "Remote.User": true, "Remote--User": true, "Remote-User-": true, "-Remote-User": true, "_Remote_User_": true,
		"Remote~User": true, "Remote!#User": true, "Remote User": true, "Remote+User": true, "Remote\x00User": true, "Remoteé User": true,
		"Remote-Name": true, "Remote_Email": true, "Remote.Groups": true, "x_auth_user": true, "X--Auth..User": true,

		"RemoteUser": false, "Remote-Users": false, "Remote-Use": false, "Remote-User-2": false, "X-Remote-User": false, "Remote": false, "": false, "-": false, "X-Auth": false, "Re-mote-User": false,
	} {
		if got := s.matches(name); got != want {
			t.Errorf("matches(%q) = %v, want %v", name, got, want)
		}
		r := &http.Request{Header: http.Header{name: {"admin"}, "Other": {"x"}}}
		s.strip(r)
		if _, kept := r.Header[name]; kept == want {
			t.Errorf("%q is kept: %v", name, kept)
		}
		if r.Header.Get("Other") != "x" {
			t.Errorf("%q took another header along", name)
		}
	}
}

func FuzzHeaderFolding(f *testing.F) {
	for _, name := range []string{"Remote-User", "remote_user", "-Remote--User-", "Remote.User", "X", "", "--", "a-b_c"} {
		f.Add(name, "Remote-User")
	}
	f.Fuzz(func(t *testing.T, name, other string) {
		folded := foldHeader(other)
		if got, want := foldsTo(name, folded), foldHeader(name) == folded; got != want && folded != "" {
			t.Errorf("foldsTo(%q, %q) = %v, foldHeader says %v", name, folded, got, want)
		}
		if !foldsTo(name, foldHeader(name)) {
			t.Errorf("foldsTo(%q, %q) = false", name, foldHeader(name))
		}
		// Whatever a CGI server takes for one name is one name here.
		cgi := func(s string) string {
			return strings.ToUpper(strings.Map(func(c rune) rune {
				if c < 0x80 && (c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z') {
					return c
				}
				return '_'
			}, s))
		}
		if cgi(name) == cgi(other) && isToken(name) && isToken(other) && foldHeader(name) != foldHeader(other) {
			t.Errorf("%q and %q are %q to a CGI server, but fold to %q and %q", name, other, cgi(name), foldHeader(name), foldHeader(other))
		}
	})
}

func TestConnectionTokens(t *testing.T) {
	for _, test := range []struct {
		name      string
		sent      []string
		wantLines []string
	}{
		{"one option", []string{"Keep-Alive"}, []string{"Keep-Alive"}},
		{"options", []string{"keep-alive, Upgrade, TE"}, []string{"keep-alive, Upgrade, TE"}},
		{"a header of this connection", []string{"keep-alive, X-Other"}, []string{"keep-alive"}},
		{"a header of every recipient", []string{"Cookie, cookie, Origin, Sec-Fetch-Site, X-CSRFToken"}, nil},
		{"ours", []string{"close, Remote-User"}, []string{"close"}},
		{"ours alone", []string{"Remote-User"}, nil},
		{"in another spelling", []string{"remote_user,\tREMOTE.GROUPS , keep-alive"}, []string{"keep-alive"}},
		{"on a second line", []string{"keep-alive", "X-A, Remote-Email"}, []string{"keep-alive"}},
		{"empty elements", []string{", ,Remote-Name,,"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := http.Header{"Connection": test.sent, "X-Other": {"1"}, "X-Kept": {"1"}, "Cookie": {"a=b"}, "Origin": {"null"}, "Sec-Fetch-Site": {"none"}, "X-Csrftoken": {"x"}}
			stripConnection(h)
			if got := h["Connection"]; !slices.Equal(got, test.wantLines) {
				t.Errorf("Connection goes on as %q, want %q", got, test.wantLines)
			}
			if _, kept := h["X-Other"]; kept == slices.Contains(test.sent, "keep-alive, X-Other") {
				t.Errorf("the header that may be named in it is kept: %v", kept)
			}
			for _, name := range []string{"X-Kept", "Cookie", "Origin", "Sec-Fetch-Site", "X-Csrftoken"} {
				if h[name] == nil {
					t.Errorf("%s is gone", name)
				}
			}
		})
	}
}

func TestClaimsOfProxies(t *testing.T) {
	for name, want := range map[string]claim{
		"X-Forwarded-User": identityClaim, "X-Forwarded--User-": identityClaim, "-X-Auth-Request-Email": identityClaim, "x-remote-groups": identityClaim, "X-Webauth-User": identityClaim,
		"X-Original-Url": pathClaim, "X~Rewrite~Url": pathClaim, "X-Forwarded-Prefix": pathClaim, "X-Forwarded-Uri": pathClaim,
		"Forwarded": addressClaim, "forwarded-": addressClaim, "X-Real-Ip": addressClaim,

		"X-Forwarded-For": noClaim, "X-Forwarded-Proto": noClaim, "X-Csrftoken": noClaim, "From": noClaim, "X-Forwarded-Username": noClaim, "Cookie": noClaim, "": noClaim, "-": noClaim,
	} {
		if got := claimOf(name); got != want {
			t.Errorf("claimOf(%q) = %v, want %v", name, got, want)
		}
	}
}

func TestTrailersAreStripped(t *testing.T) {
	trailer := http.Header{"Remote-User": nil, "X-Checksum": nil}
	r := &http.Request{
		Header:  http.Header{"Trailer": {"Remote_User, X-Checksum"}},
		Trailer: trailer,
		Body:    io.NopCloser(&lateTrailer{Reader: strings.NewReader("body"), trailer: trailer}),
	}
	newStripper(defaultIdentityHeaders().names()).strip(r)
	if _, ok := r.Trailer["Remote-User"]; ok {
		t.Error("a declared trailer stays")
	}
	if got := r.Header["Trailer"]; !slices.Equal(got, []string{"X-Checksum"}) {
		t.Errorf("Trailer goes on as %q", got)
	}
	if text, err := io.ReadAll(r.Body); string(text) != "body" || err != nil {
		t.Errorf("the body is %q, %v", text, err)
	}
	for name := range r.Trailer {
		if name != "X-Checksum" {
			t.Errorf("the trailer %q came on after the body", name)
		}
	}
	if r.Trailer.Get("X-Checksum") != "1" {
		t.Error("an honest trailer is lost")
	}
}

// lateTrailer sets trailers when the body ends, as net/http does.
type lateTrailer struct {
	io.Reader
	trailer http.Header
}

func (l *lateTrailer) Read(p []byte) (int, error) {
	n, err := l.Reader.Read(p)
	if err == io.EOF {
		l.trailer["Remote-User"] = []string{"admin"}
		l.trailer["Remote_groups"] = []string{"admins"}
		l.trailer["X-Checksum"] = []string{"1"}
	}
	return n, err
}

func TestIdentityHeaderNames(t *testing.T) {
	got, err := IdentityHeaders{User: "x-auth-user", Groups: "X-Auth-Groups"}.compile()
	if err != nil || got.User != "X-Auth-User" || got.Name != "Remote-Name" || got.Email != "Remote-Email" || got.Groups != "X-Auth-Groups" {
		t.Errorf("compile = %+v, %v", got, err)
	}
	for _, bad := range []IdentityHeaders{
		{User: "Remote User"}, {User: "Remote_User"}, {User: "Remote.User"}, {User: "é"}, {User: "a:b"}, {User: "a\nb"},
		{User: "Cookie"}, {Name: "host"}, {Email: "Authorization"}, {Groups: "X-CSRFToken"}, {User: "Sec-Fetch-Site"}, {User: "X-Forwarded-For"}, {User: "Access-Control-Request-Method"}, {User: "--Cookie"},
		{User: "X-A", Name: "x-a"}, {User: "Remote-Name"}, {Groups: "X--A", Email: "X-A"},
	} {
		if _, err := bad.compile(); err == nil {
			t.Errorf("identity_headers %+v is accepted", bad)
		}
	}
}

func TestHeaderText(t *testing.T) {
	for in, want := range map[string]string{
		"Juan Pérez": "Juan Pérez", "a\r\nSet-Cookie: x": "aSet-Cookie: x", "a\x00b\x7f": "ab", "a\u0085b": "ab", "": "",
		strings.Repeat("é", 600): strings.Repeat("é", 512), "x" + strings.Repeat("é", 600): "x" + strings.Repeat("é", 511), "{env.SECRET}": "{env.SECRET}",
	} {
		if got := headerText(in); got != want {
			t.Errorf("headerText(%.40q) = %.40q (%d bytes), want %.40q", in, got, len(got), want)
		}
	}
}

func TestStripUpgrade(t *testing.T) {
	for _, test := range []struct {
		name                string
		upgrade, connection []string
		kept                bool
		wantConnection      []string
	}{
		{"websocket", []string{"websocket"}, []string{"Upgrade"}, true, []string{"Upgrade"}},
		{"WebSocket", []string{"WebSocket"}, []string{"keep-alive, Upgrade"}, true, []string{"keep-alive, Upgrade"}},
		{"h2c", []string{"h2c"}, []string{"Upgrade, HTTP2-Settings"}, false, nil},
		{"h2c and more", []string{"h2c"}, []string{"keep-alive, upgrade"}, false, []string{"keep-alive"}},
		{"anything", []string{"foo"}, []string{"Upgrade"}, false, nil},
		{"websocket and h2c", []string{"websocket, h2c"}, []string{"Upgrade"}, false, nil},
		{"two lines", []string{"websocket", "h2c"}, []string{"Upgrade"}, false, nil},
		{"empty", []string{""}, []string{"Upgrade"}, false, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := http.Header{"Upgrade": test.upgrade, "Connection": test.connection, "Http2-Settings": {"x"}}
			stripConnection(h)
			stripUpgrade(&http.Request{Method: "GET", ProtoMajor: 1, ProtoMinor: 1, Header: h})
			if _, kept := h["Upgrade"]; kept != test.kept {
				t.Errorf("Upgrade is kept: %v, want %v", kept, test.kept)
			}
			if _, settings := h["Http2-Settings"]; settings {
				t.Error("HTTP2-Settings is kept")
			}
			if got := h["Connection"]; !slices.Equal(got, test.wantConnection) {
				t.Errorf("Connection goes on as %q, want %q", got, test.wantConnection)
			}
		})
	}
}
