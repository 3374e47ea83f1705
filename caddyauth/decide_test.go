package caddyauth

import "testing"

// passing is a request with nothing against it: each row below spoils it.
func passing() facts {
	return facts{
		ipAllowed: true, session: sessionLive, unsafe: true, originAllowed: true, tokenShown: true,
		inSiteGroups: true, inRequireGroups: true,
	}
}

func TestDecide(t *testing.T) {
	for _, test := range []struct {
		name  string
		csrf  string // default token
		spoil func(*facts)
		want  verdict
		code  code
	}{
		{name: "everything is met", want: allow},
		{name: "foreign address", spoil: func(f *facts) { f.ipAllowed = false }, want: forbid, code: codeIPNotAllowed},
		{name: "foreign address on a public path", spoil: func(f *facts) { f.ipAllowed, f.public = false, true }, want: forbid, code: codeIPNotAllowed},
		{name: "foreign address with a preflight", spoil: func(f *facts) { f.ipAllowed, f.trustPreflight = false, true }, want: forbid, code: codeIPNotAllowed},
		{name: "foreign address while the store is down", spoil: func(f *facts) { f.ipAllowed, f.session = false, sessionFailed }, want: forbid, code: codeIPNotAllowed},
		{name: "trace", spoil: func(f *facts) { f.methodRefused = true }, want: forbid, code: codeMethodNotAllowed},
		{name: "trace on a public path", spoil: func(f *facts) { f.methodRefused, f.public = true, true }, want: forbid, code: codeMethodNotAllowed},
		{name: "trace without a session", spoil: func(f *facts) { f.methodRefused, f.session = true, sessionNone }, want: forbid, code: codeMethodNotAllowed},
		{name: "public", spoil: func(f *facts) { f.public = true }, want: allowPublic},
		{name: "public without anything", spoil: func(f *facts) { *f = facts{ipAllowed: true, public: true, unsafe: true} }, want: allowPublic},
		{name: "public while the store is down", spoil: func(f *facts) { f.public, f.session = true, sessionFailed }, want: allowPublic},
		{name: "preflight of a trusted origin", spoil: func(f *facts) { *f = facts{ipAllowed: true, trustPreflight: true} }, want: preflight},
		{name: "store down", spoil: func(f *facts) { f.session = sessionFailed }, want: unavailable, code: codeStoreUnavailable},
		{name: "store down and nothing else met", spoil: func(f *facts) { *f = facts{ipAllowed: true, session: sessionFailed, unsafe: true} }, want: unavailable, code: codeStoreUnavailable},
		{name: "no session", spoil: func(f *facts) { f.session = sessionNone }, want: signIn, code: codeAuthenticationRequired},
		{name: "no session, and a foreign origin and no group", spoil: func(f *facts) { *f = facts{ipAllowed: true, unsafe: true, pathAmbiguous: true} }, want: signIn, code: codeAuthenticationRequired},
		{name: "no session on a websocket", spoil: func(f *facts) { f.session, f.upgrade = sessionNone, true }, want: signIn, code: codeAuthenticationRequired},
		{name: "foreign origin", spoil: func(f *facts) { f.originAllowed = false }, want: forbid, code: codeOriginNotTrusted},
		{name: "foreign origin and no token", spoil: func(f *facts) { f.originAllowed, f.tokenShown = false, false }, want: forbid, code: codeOriginNotTrusted},
		{name: "foreign origin under csrf origin", csrf: csrfOrigin, spoil: func(f *facts) { f.originAllowed = false }, want: forbid, code: codeOriginNotTrusted},
		{name: "foreign origin under csrf insecure_off", csrf: csrfOff, spoil: func(f *facts) { f.originAllowed = false }, want: allow},
		{name: "foreign origin of a safe method", spoil: func(f *facts) { f.unsafe, f.originAllowed, f.tokenShown = false, false, false }, want: allow},
		{name: "no token", spoil: func(f *facts) { f.tokenShown = false }, want: forbid, code: codeCSRFFailed},
		{name: "no token under csrf origin", csrf: csrfOrigin, spoil: func(f *facts) { f.tokenShown = false }, want: allow},
		{name: "no token under csrf insecure_off", csrf: csrfOff, spoil: func(f *facts) { f.tokenShown = false }, want: allow},
		{name: "no token and no group", spoil: func(f *facts) { f.tokenShown, f.inSiteGroups = false, false }, want: forbid, code: codeCSRFFailed},
		{name: "websocket of a foreign origin", spoil: func(f *facts) { f.unsafe, f.upgrade, f.originAllowed = false, true, false }, want: forbid, code: codeOriginNotTrusted},
		{name: "websocket of a foreign origin under csrf insecure_off", csrf: csrfOff, spoil: func(f *facts) { f.unsafe, f.upgrade, f.originAllowed = false, true, false }, want: forbid, code: codeOriginNotTrusted},
		{name: "websocket needs no token", spoil: func(f *facts) { f.unsafe, f.upgrade, f.tokenShown = false, true, false }, want: allow},
		{name: "session of another directory", spoil: func(f *facts) { f.session = sessionForeign }, want: forbid, code: codeGroupRequired},
		{name: "not in the handler's groups", spoil: func(f *facts) { f.inSiteGroups = false }, want: forbid, code: codeGroupRequired},
		{name: "not in a require line's groups", spoil: func(f *facts) { f.inRequireGroups = false }, want: forbid, code: codeGroupRequired},
		{name: "ambiguous path, not in all groups", spoil: func(f *facts) { f.pathAmbiguous, f.inRequireGroups = true, false }, want: forbid, code: codePathAmbiguous},
		{name: "ambiguous path, not in the handler's groups", spoil: func(f *facts) { f.pathAmbiguous, f.inSiteGroups = true, false }, want: forbid, code: codeGroupRequired},
		{name: "stale sign-in", spoil: func(f *facts) { f.stale = true }, want: forbid, code: codeReauthenticationRequired},
		{name: "stale sign-in on an ambiguous path, in all groups", spoil: func(f *facts) { f.stale, f.pathAmbiguous = true, true }, want: forbid, code: codeReauthenticationRequired},
		{name: "stale sign-in on a websocket", spoil: func(f *facts) { f.stale, f.upgrade, f.unsafe, f.tokenShown = true, true, false, false }, want: forbid, code: codeReauthenticationRequired},
		{name: "stale sign-in of a session of another directory", spoil: func(f *facts) { f.stale, f.session = true, sessionForeign }, want: forbid, code: codeGroupRequired},
		{name: "stale sign-in, not in the handler's groups", spoil: func(f *facts) { f.stale, f.inSiteGroups = true, false }, want: forbid, code: codeGroupRequired},
		{name: "stale sign-in, not in a require line's groups", spoil: func(f *facts) { f.stale, f.inRequireGroups = true, false }, want: forbid, code: codeGroupRequired},
		{name: "stale sign-in on an ambiguous path, not in all groups", spoil: func(f *facts) { f.stale, f.pathAmbiguous, f.inRequireGroups = true, true, false }, want: forbid, code: codePathAmbiguous},
		{name: "stale sign-in and no token", spoil: func(f *facts) { f.stale, f.tokenShown = true, false }, want: forbid, code: codeCSRFFailed},
		{name: "stale sign-in and a foreign origin", spoil: func(f *facts) { f.stale, f.originAllowed = true, false }, want: forbid, code: codeOriginNotTrusted},
		{name: "stale sign-in while the store is down", spoil: func(f *facts) { f.stale, f.session = true, sessionFailed }, want: unavailable, code: codeStoreUnavailable},
		{name: "stale sign-in of an account that nobody could look at", spoil: func(f *facts) { f.stale, f.session = true, sessionOverdue }, want: unavailable, code: codeDirectoryUnavailable},
		{name: "stale sign-in and no session", spoil: func(f *facts) { f.stale, f.session = true, sessionNone }, want: signIn, code: codeAuthenticationRequired},
		{name: "stale sign-in on a public path", spoil: func(f *facts) { f.stale, f.public = true, true }, want: allowPublic},
		{name: "stale sign-in with a preflight of a trusted origin", spoil: func(f *facts) { f.stale, f.trustPreflight = true, true }, want: preflight},
		{name: "ambiguous path, in all groups", spoil: func(f *facts) { f.pathAmbiguous = true }, want: allow},
	} {
		t.Run(test.name, func(t *testing.T) {
			f, csrf := passing(), test.csrf
			if csrf == "" {
				csrf = csrfToken
			}
			if test.spoil != nil {
				test.spoil(&f)
			}
			if got, code := decide(f, csrf); got != test.want || code != test.code {
				t.Errorf("decide(%+v, %s) = %d, %q, want %d, %q", f, csrf, got, code, test.want, test.code)
			}
		})
	}
}

// TestDecideNeverPassesWithoutASession walks through every combination of
// facts: whatever else is true, only a live session or a public path passes,
// and only from an allowed address; and every refusal has its code.
func TestDecideNeverPassesWithoutASession(t *testing.T) {
	for bits := range 1 << 11 {
		bit := func(i int) bool { return bits>>i&1 == 1 }
		for _, session := range []sessionState{sessionNone, sessionLive, sessionFailed, sessionForeign} {
			for _, csrf := range []string{csrfToken, csrfOrigin, csrfOff} {
				f := facts{
					ipAllowed: bit(0), methodRefused: bit(1), public: bit(2), trustPreflight: bit(3), session: session,
					unsafe: bit(4), upgrade: bit(5), originAllowed: bit(6), tokenShown: bit(7), inSiteGroups: bit(8), inRequireGroups: bit(9), stale: bit(10),
				}
				for _, f.pathAmbiguous = range []bool{false, true} {
					got, code := decide(f, csrf)
					if (code == "") != (got == allow || got == allowPublic || got == preflight) {
						t.Fatalf("decide(%+v, %s) = %d with the code %q", f, csrf, got, code)
					}
					switch got {
					case allow:
						if !f.ipAllowed || f.methodRefused || session != sessionLive || f.stale || !f.inSiteGroups || !f.inRequireGroups ||
							f.upgrade && !f.originAllowed || csrf != csrfOff && f.unsafe && !f.originAllowed || csrf == csrfToken && f.unsafe && !f.tokenShown {
							t.Fatalf("decide(%+v, %s) allows", f, csrf)
						}
					case allowPublic:
						if !f.ipAllowed || f.methodRefused || !f.public {
							t.Fatalf("decide(%+v, %s) allows as public", f, csrf)
						}
					case preflight:
						if !f.ipAllowed || f.methodRefused || !f.trustPreflight {
							t.Fatalf("decide(%+v, %s) answers a preflight", f, csrf)
						}
					}
				}
			}
		}
	}
}
