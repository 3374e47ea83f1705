package attack

// switchOff is an edit of the product's source that takes a part of a rule
// away. It is compiled into a program of its own, which at least one test of the
// rule must fail.
type switchOff struct {
	rule string // R01 to R14
	part string // what is taken away
	edit        // old stands in file exactly once, or the list is out of date
	also []edit // where one edit does not do

	// tests are those that prove this part, by the beginning of their names, in
	// folder ("": this one); nil: those that are named after the rule.
	tests  []string
	folder string
}

// edit puts new in the place of old.
type edit struct{ file, old, new string }

// switchesOff are the rules of docs/security.md, each without one of its parts.
func switchesOff() []switchOff {
	return []switchOff{
		// R1: the gate runs before everything else.
		{rule: "R01", part: "require_session stands before header", edit: edit{"caddyauth/caddyfile.go",
			`RegisterDirectiveOrder("require_session", httpcaddyfile.Before, "header")`,
			`RegisterDirectiveOrder("require_session", httpcaddyfile.Before, "basic_auth")`}, tests: []string{"TestB31", "TestR01"}},

		// R2: clients' identity headers go first.
		{rule: "R02", part: "identity headers are stripped", edit: edit{"caddyauth/request.go",
			"\tapp.stripper.strip(r)\n", ""}},
		{rule: "R02", part: "in every spelling", edit: edit{"caddyauth/headers.go",
			"if len(name) >= len(folded) && foldsTo(name, folded) {", "if http.CanonicalHeaderKey(folded) == name {"}},
		{rule: "R02", part: "in trailers", edit: edit{"caddyauth/headers.go",
			"\t\ts.stripTrailers(r)\n", ""}, tests: []string{"TestB05"}},
		{rule: "R02", part: "where nothing is decided", edit: edit{"caddyauth/require.go",
			"\tw, q := g.site.begin(w, r)\n", "\tif g.rules.public != nil {\n\t\tif public, _, _ := g.rules.judge(originalURL(r)); public {\n\t\t\treturn next.ServeHTTP(w, r)\n\t\t}\n\t}\n\tw, q := g.site.begin(w, r)\n"}},
		{rule: "R02", part: "Connection names none", edit: edit{"caddyauth/request.go",
			"\tstripConnection(r.Header)\n", ""}},

		// R3: refusals are answers of our own.
		{rule: "R03", part: "the refusal for want of a session", edit: edit{"caddyauth/require.go",
			"\tcase signIn:\n\t\treturn g.site.askToSignIn(w, r, q)\n",
			"\tcase signIn:\n\t\treturn caddyhttp.Error(http.StatusUnauthorized, errors.New(string(reason)))\n"}},
		{rule: "R03", part: "every other refusal", edit: edit{"caddyauth/require.go",
			"\tdefault:\n\t\treturn g.refuse(",
			"\tdefault:\n\t\tif reason != \"\" {\n\t\t\treturn caddyhttp.Error(refusalOf(reason).status, errors.New(string(reason)))\n\t\t}\n\t\treturn g.refuse("}},

		// R4: what no line opens is closed, and lines mean canonical paths.
		{rule: "R04", part: "what is not public is closed", edit: edit{"caddyauth/decide.go",
			"\t\treturn signIn, codeAuthenticationRequired\n", "\t\treturn allowPublic, \"\"\n"}},
		{rule: "R04", part: "only canonical paths are public", edit: edit{"caddyauth/path.go",
			"\tif !canonicalPath(u) {\n\t\treturn false, true, rules.require\n\t}\n", ""}, tests: []string{"TestB14"}},
		{rule: "R04", part: "the path as it was sent", edit: edit{"caddyauth/request.go",
			"original: originalURL(r)", "original: r.URL"}, tests: []string{"TestB26"}},
		{rule: "R04", part: "a public line is no beginning of a name", edit: edit{"caddyauth/path.go",
			"rest, ok := strings.CutPrefix(path, p.path)\n\t\treturn ok && (rest == \"\" || rest[0] == '/')",
			"_, ok := strings.CutPrefix(path, p.path)\n\t\treturn ok"}, tests: []string{"TestB14"}},

		// R5: a session is what the store says is one.
		{rule: "R05", part: "a store that fails is no open door", edit: edit{"caddyauth/decide.go",
			"\t\treturn unavailable, codeStoreUnavailable\n", "\t\treturn allowPublic, \"\"\n"}},
		{rule: "R05", part: "a store that fails is no sign-out", edit: edit{"caddyauth/decide.go",
			"\t\treturn unavailable, codeStoreUnavailable\n", "\t\treturn signIn, codeAuthenticationRequired\n"}},
		{rule: "R05", part: "damaged records count for nothing", edit: edit{"sessionstore/decode.go",
			"if recordChecksum(b[:end], subject) != binary.BigEndian.Uint32(b[end:]) {", "if false {"}},
		{rule: "R05", part: "the absolute deadline", edit: edit{"sessionstore/lookup.go",
			"case e.pastAbsolute(limits, now):", "case false:"},
			tests: []string{"TestS04"}},
		{rule: "R05", part: "the idle deadline", edit: edit{"sessionstore/lookup.go",
			"case now-e.seen.Load() >= int64(limits.Idle):", "case false:"},
			tests: []string{"TestS04"}},

		// R6: a touch brings nothing back.
		{rule: "R06", part: "in memory, what has ended stays dead", edit: edit{"sessionstore/memory.go",
			"\tsh.doom(key)\n\tif e := sh.entries[key]; e != nil {\n\t\te.dead.Store(true)\n\t\tm.removeLocked(sh, e)\n\t}\n", "\tsh.doom(key)\n"}},
		{rule: "R06", part: "in the store, a session is updated where there is one", edit: edit{"sessionstore/badgerstore/update.go",
			"\tif err != nil || item == nil {\n\t\treturn false, err\n\t}\n",
			"\tif err != nil {\n\t\treturn false, err\n\t}\n\tif item == nil {\n\t\treturn true, setSession(txn, key, record, expiry(session, session.Created), session)\n\t}\n"},
			folder: "sessionstore/badgerstore", tests: []string{"TestConformance/an_update_never_brings_a_session_back"}},

		// R7: one opaque token, its hash at rest, one exact cookie.
		{rule: "R07", part: "the store has a hash of the token", edit: edit{"sessionstore/token.go",
			"return sha256.Sum256(t[:])", "_ = sha256.Size\n\treturn Key(t)"}, tests: []string{"TestP50"}},
		{rule: "R07", part: "256 random bits", edit: edit{"sessionstore/token.go",
			"\trand.Read(t[:]) // never fails", "\trand.Read(t[:2]) // never fails"}, tests: []string{"TestS01", "TestP02"}},
		{rule: "R07", part: "one spelling of a token", edit: edit{"sessionstore/token.go",
			"base64.RawURLEncoding.Strict()", "base64.RawURLEncoding"}, tests: []string{"TestP55"}},
		{rule: "R07", part: "two values are none", edit: edit{"caddyauth/sentcookies.go",
			"\t\t\t\tcase val != value:\n\t\t\t\t\tall = map[string]struct{}{value: {}, val: {}}\n", ""}},
		{rule: "R07", part: "no decorated value", edit: edit{"caddyauth/sentcookies.go",
			"sent.token, sent.valid = sessionstore.ParseToken(value)", "sent.token, sent.valid = sessionstore.ParseToken(strings.Trim(value, \"\\\" \"))"}, tests: []string{"TestR07", "TestB34"}},
		{rule: "R07", part: "over TLS the prefixed cookie alone", edit: edit{"caddyauth/cookies.go",
			"\tif tls {\n\t\treturn c.prefix + c.name\n\t}\n\treturn c.name\n", "\treturn c.name\n"}, tests: []string{"TestR07", "TestS13", "TestS03"}},

		// R8: wrong passwords count for the directory's account.
		{rule: "R08", part: "the account is the directory's", edit: edit{"caddyauth/prove.go",
			"err := attempt.Identify(ctx, accountID(chosen.Label(), id))", "var err error"}},

		// R9: the throttle stops before the directory's own lockout.
		{rule: "R09", part: "three wrong passwords", edit: edit{"caddyauth/throttle.go",
			"Rate{Failures: 3, Window: caddy.Duration(15 * time.Minute)}", "Rate{Failures: 300, Window: caddy.Duration(15 * time.Minute)}"}},
		{rule: "R09", part: "wrong passwords count", edit: edit{"caddyauth/prove.go",
			"\t\tattempt.Fail()\n", "\t\tattempt.Release()\n"}},
		{rule: "R09", part: "they count before they are sent", edit: edit{"throttle/table.go",
			"if e != nil && failures+e.reserved >= limit {", "if false {"}},

		// R10: refusals of a sign-in look alike.
		{rule: "R10", part: "the same time", edit: edit{"caddyauth/signinrefusal.go",
			"\tq.holdBack(r.Context(), p)\n\tc, detail :=", "\tc, detail :="}},
		{rule: "R10", part: "the same bytes", edit: edit{"caddyauth/signinrefusal.go",
			"\tform.Code, form.Detail = string(c), detail\n", "\tdetail = string(refused.Reason)\n\tform.Code, form.Detail = string(c), detail\n"}},
		{rule: "R10", part: "the same status", edit: edit{"caddyauth/accountstate.go",
			"\tcase ldap.ReasonPasswordExpired:\n", "\tcase ldap.ReasonAccountLocked:\n\t\treturn codeAccountRestricted, \"\"\n\tcase ldap.ReasonPasswordExpired:\n"}},

		// R11: requests share nothing that is one user's.
		{rule: "R11", part: "each request has its own user", edit: edit{"caddyauth/require.go",
			"\tdirectory, view := q.directory, viewOf(q.session)\n\tgroups := ",
			"\tsharedView = viewOf(q.session)\n\ttime.Sleep(time.Millisecond)\n\tdirectory, view := q.directory, sharedView\n\tgroups := "},
			also: []edit{{"caddyauth/require.go", "// identify tells the handlers behind", "var sharedView *userView\n\n// identify tells the handlers behind"}}},

		// R12: forwarding headers count from trusted proxies only.
		{rule: "R12", part: "from trusted_proxies only", edit: edit{"caddyauth/clientip.go",
			"\treturn trusted\n", "\treturn trusted || r.Header != nil\n"}},
		{rule: "R12", part: "with trusted_proxies_strict only", edit: edit{"caddyauth/clientip.go",
			"return server == nil || server.TrustedProxiesStrict <= 0", "return server == nil"}, tests: []string{"TestP40", "TestB36", "TestP03"}},

		// R13: safe methods change nothing, upgrades and preflights are judged here.
		{rule: "R13", part: "an Upgrade needs an origin", edit: edit{"caddyauth/decide.go",
			"case f.upgrade && !f.originAllowed:", "case false:"}},
		{rule: "R13", part: "a preflight is answered here", edit: edit{"caddyauth/decide.go",
			"\t\treturn preflight, \"\"\n", "\t\treturn allowPublic, \"\"\n"}},
		{rule: "R13", part: "a sign-in is a POST", edit: edit{"caddyauth/signin.go",
			"\t\tif r.Method != http.MethodPost {\n\t\t\treturn s.refuseMethod(w, r, q, \"POST, OPTIONS\", messageLoginMethod)\n\t\t}\n", ""}, tests: []string{"TestS12", "TestS20"}},
		{rule: "R13", part: "a GET that overrides its method is none", edit: edit{"caddyauth/csrf.go",
			"\t\tif _, ok := r.Header[override]; ok {\n\t\t\treturn true\n\t\t}\n", "\t\t_ = override\n"}, tests: []string{"TestB21"}},

		// R14: security material that is missing is an error.
		{rule: "R14", part: "a CA file that holds none", edit: edit{"caddyauth/directory.go",
			"\tif !pool.AppendCertsFromPEM(pem) {\n", "\tif pool.AppendCertsFromPEM(pem); false {\n"}},
		{rule: "R14", part: "a CA file that is not there", edit: edit{"caddyauth/directory.go",
			"return nil, nil, fmt.Errorf(\"reading the certificates: %w\", err)", "return nil, nil, nil"}},
		{rule: "R14", part: "an empty list of addresses", edit: edit{"caddyauth/clientip.go",
			"\tif len(list) == 0 {\n\t\treturn nil, errors.New(", "\tif len(list) == 0 {\n\t\treturn nil, nil\n\t}\n\tif list == nil {\n\t\treturn nil, errors.New("}},
		{rule: "R14", part: "an empty list of groups", edit: edit{"caddyauth/require.go",
			"\tif list != nil && len(list) == 0 {\n", "\tif false {\n"}},
		{rule: "R14", part: "a secret that is not there", edit: edit{"caddyauth/directory.go",
			"filled, err := repl.ReplaceOrErr(text, true, true)", "filled, err := repl.ReplaceAll(text, \"none\"), error(nil)"}, tests: []string{"TestP67"}},
		{rule: "R14", part: "a readable key file", edit: edit{"caddyauth/encryptionkey.go",
			"case runtime.GOOS != \"windows\" && info.Mode().Perm()&0o077 != 0:", "case runtime.GOOS == \"none\":"}},
		{rule: "R14", part: "a plain connection to the directory", edit: edit{"ldap/validate.go",
			"if scheme == \"ldap\" && !c.StartTLS && !c.InsecurePlaintext && !isLoopback(host) {", "if false {"}},
	}
}
