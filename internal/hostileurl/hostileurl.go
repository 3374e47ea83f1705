// Package hostileurl makes redirect targets that try to lead a browser away from
// a site, for tests: those that have worked on other products, and random ones
// of the same parts.
package hostileurl

import (
	"math/rand/v2"
	"net/url"
	"strings"
)

// Known returns targets by which products have sent people to evil.test. site
// and trusted are origins that a redirect may go to.
func Known(site, trusted string) []string {
	host, goodHost := hostOf(site), hostOf(trusted)
	targets := []string{
		"", "/", "/a", "a", ".", "..", "?a=b", "#a", "/a?next=//evil.test", "/a#//evil.test", "/a:b", "/@evil.test", "/a;b", "/café", "/caf%C3%A9", "/..a/.b/c..",
		"//evil.test", "///evil.test", "////evil.test", "/////evil.test/", `/\evil.test`, `/\/evil.test`, `\/evil.test`, `\\evil.test`, `\/\/evil.test/`, `/\\evil.test`, `\evil.test`,
		"/ /evil.test", "/\t/evil.test", "/\n/evil.test", "/\r/evil.test", "/\x00/evil.test", "/\x0b/evil.test", "/\x1f/evil.test", "/\x7f/evil.test", "\t//evil.test", " //evil.test", "\n//evil.test", "\x01//evil.test", "\x00/evil.test",
		"/\t\\evil.test", "/\r\n/evil.test", "/\u0085/evil.test", "/\u00a0/evil.test", "/\u2028/evil.test", "/\u3000/evil.test", "\ufeff//evil.test", "/\ufeff/evil.test", "/\u200b/evil.test", "/／evil.test", "／／evil.test", "/⁄evil.test", "/＼evil.test",
		"/%2f/evil.test", "/%2fevil.test", "%2f%2fevil.test", "/%5cevil.test", "%5c%5cevil.test", "/%09/evil.test", "/%0a/evil.test", "/%0d/evil.test", "/%00/evil.test", "%09//evil.test", "/%2f%2fevil.test", "/%252f%252fevil.test",
		"/.//evil.test", "/..//evil.test", "/a/..//evil.test", "/./\\evil.test", "/%2e//evil.test", "/%2e%2e//evil.test", "/.%2e//evil.test", "/.;//evil.test", "/a/../..//evil.test", "/a/%2e%2e/%2fevil.test", "/../evil.test", "/..;/evil.test", ".//evil.test", "..//evil.test", "./\\evil.test",
		"http:evil.test", "https:evil.test", "http:/evil.test", "https:/evil.test", "http:///evil.test", "https:///evil.test", `https:\evil.test`, `https:\\evil.test`, `https:/\evil.test`, "https:\t//evil.test", "ht\ttps://evil.test", "https\n://evil.test", "hTTps://evil.test", "https:evil.test@" + host, "http:////evil.test", " https://evil.test", "\x1fhttps://evil.test", "https ://evil.test",
		"javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\tscript:alert(1)", "java\nscript:alert(1)", "\x01javascript:alert(1)", " javascript:alert(1)", "javascript://" + host + "/%0aalert(1)", "javascript://%0aalert(1)", "/javascript:alert(1)", "javascript&colon;alert(1)", "javascript%3aalert(1)", "data:text/html,<script>alert(1)</script>", "data:text/html;base64,PHNjcmlwdD4=", "vbscript:x", "file:///etc/passwd", "blob:" + site + "/a", "about:blank", "view-source:" + site, "mailto:a@evil.test", "ws://" + host + "/", "ftp://" + host + "/", "filesystem:" + site + "/a", "intent://evil.test#Intent;end", "x-evil:a",
		site + ".evil.test", site + "@evil.test", site + ":80@evil.test", site + `\@evil.test`, site + `\.evil.test`, site + "%40evil.test", site + "%2eevil.test", site + "%00.evil.test", site + "\x00.evil.test", site + "\t.evil.test", site + "#@evil.test", site + "?@evil.test", site + "/@evil.test", site + ";@evil.test", site + "&@evil.test", site + "/", site, site + ":443/", site + ":8443/", site + "／evil.test", site + "。evil.test", site + "。/", site + "./",
		trusted, trusted + "/", trusted + "/a?b#c", trusted + "?a", trusted + "#a", trusted + ".evil.test/", trusted + "@evil.test/", trusted + ":x@evil.test/", trusted + `\@evil.test/`, trusted + `\evil.test`, trusted + "%40evil.test/", trusted + "%2f@evil.test", trusted + "%5c@evil.test", trusted + "?@evil.test", trusted + "#@evil.test", trusted + ":443/", trusted + ":0443/", trusted + ":/", trusted + ":80/", trusted + ":8443/", trusted + "./", trusted + "..//evil.test", trusted + "/..//evil.test", trusted + "//evil.test", trusted + "/%2e%2e//evil.test", strings.ToUpper(trusted) + "/", strings.Replace(trusted, "https:", "http:", 1) + "/", strings.Replace(trusted, "://", "://user@", 1) + "/", strings.Replace(trusted, "://", "://user:pass@", 1) + "/", strings.Replace(trusted, "://", "://@", 1) + "/", strings.Replace(trusted, ".", "。", 1) + "/", strings.Replace(trusted, ".", "%2e", 1) + "/", strings.Replace(trusted, "t", "ｔ", 1), strings.Replace(trusted, "s", "ſ", 2) + "/", strings.Replace(trusted, "://", ":", 1), strings.Replace(trusted, "://", ":/", 1), strings.Replace(trusted, "://", ":///", 1), strings.Replace(trusted, "://", `:\\`, 1), strings.Replace(trusted, "://", "://x.", 1),
		"https://evil.test", "http://evil.test/", "https://evil.test/" + host, "https://evil.test?" + site, "https://evil.test#" + site, "https://evil.test/?" + trusted, "https://evil.test;" + goodHost, "https://evil" + goodHost, "https://" + goodHost + "evil.test", "https://" + goodHost + ".evil.test", "https://evil.test:443@" + goodHost + "/", "https://evil.test%23@" + goodHost, "https://evil.test#@" + goodHost + "/", `https://evil.test\@` + goodHost + "/", "https://evil.test%5c@" + goodHost,
		"//127.0.0.1", "//[::1]", "//[::ffff:127.0.0.1]/", "https://2130706433/", "https://0x7f.1/", "https://0177.0.0.01/", "https://127.1/", "https://[::1]/", "https://[::ffff:7f00:1]/", "https://[::1%25eth0]/", "//0x7f000001", "https://①②⑦.⓪.⓪.①/", "https://xn--evil-6na.test/", "https://evil。test/", "//evil．test", "//evil｡test", "//ⓔⓥⓘⓛ.test", "https:evil。test", "//", "///", "https://", "http:", ":", "://evil.test", ":evil.test", "/:evil.test", "@evil.test", "//@evil.test", "//a@evil.test", "//" + host + "@evil.test", "//" + host + ":80@evil.test", "//" + host, "//" + goodHost + "/", "//" + goodHost + "@evil.test",
		"/accounts/login/", "/accounts/login", "/api/logout/", "/api/logout", "/api/logout/?a", "/api/logout#a", "/x/../api/logout/", "/./api/logout/", "/api/./logout/", "/api/x/..%2flogout/", "/api/%6cogout/", "/api/logout/.", "/api/logout/%2e", "/%2e/api/logout/", "/api//logout/", `/api\logout/`, "/api/logout\t/", "/api/logout/;a", "/API/LOGOUT/", "/api/logout//", "/api/login-ldap/", "/api/session/", "/accounts/sessions/", trusted + "/api/logout/", site + "/api/logout/", "api/logout/", "../../api/logout/", "?next=/api/logout/",
		"/a\r\nSet-Cookie: a=b", "/a\nLocation: https://evil.test", "/a%0d%0aLocation:%20https://evil.test", "/a\u560d\u560aLocation: https://evil.test", "/\xff", "/\xc0\xaf/evil.test", "/%zz", "/%", "/a b", "/a<b>", "/\"onload=", "/'", "/{a}", "/`", "/|evil.test", "/^", "/~evil.test", "/[a]", "/{env.HOME}", "/${a}",
	}
	for _, n := range []int{2047, 2048, 2049, 1 << 14} {
		targets = append(targets, "/"+strings.Repeat("a", n-1), trusted+"/"+strings.Repeat("a", n-1-len(trusted)), "/"+strings.Repeat("/", n-11)+"evil.test/")
	}
	return targets
}

// Random returns a target of a few parts.
func Random(r *rand.Rand, site, trusted string) string {
	host, goodHost := hostOf(site), hostOf(trusted)
	parts := []string{
		"/", "/", "/", "//", `\`, `\`, "\t", "\n", "\r", " ", "\x00", "\x01", "\x1f", "\x7f", "\u0085", "\u00a0", "\u00ad", "\u200b", "\u2028", "\ufeff", "\ufffd", "\xff",
		"http:", "https:", "https:", "HTTPS:", "javascript:", "data:", "ws:", "file:", ":", "://", "@", "@", "user:pass@", ":443", ":80", ":8443", ":0", ":99999", ":a",
		".", ".", "..", "...", "%2e", "%2E%2e", "%2f", "%2F", "%5c", "%5C", "%09", "%0a", "%00", "%40", "%3a", "%23", "%3f", "%25", "%252f", "%", "%zz", "%c0%af",
		"。", "．", "｡", "／", "＼", "⁄", "∕", "：", "＠", "①", "ⓔ", "ß", "é", "\u0301",
		"?", "#", ";", ",", "&", "=", "+", "*", "!", "$", "~", "|", "^", "<", ">", `"`, "'", "`", "{", "}", "[", "]", "(", ")",
		"[::1]", "[::ffff:1.2.3.4]", "127.0.0.1", "127.1", "0x7f000001", "2130706433", "0177.1", "1.2.3.4.5", "xn--a", "localhost",
		"evil.test", "evil.test", "evil", ".test", host, host, goodHost, goodHost, site, site, trusted, trusted, "www.", "a", "a", "b", "0",
		"api", "logout", "/api/logout/", "accounts", "login", "/accounts/login/",
	}
	var target strings.Builder
	// Most begin like something that could pass.
	target.WriteString([]string{"", "", "/", "/", "/a", "/a/", trusted, trusted + "/", "https://", "//"}[r.IntN(10)])
	for range r.IntN(7) {
		target.WriteString(parts[r.IntN(len(parts))])
	}
	return target.String()
}

func hostOf(origin string) string {
	u, err := url.Parse(origin)
	if err != nil {
		panic(err) // a test's own constant
	}
	return u.Host
}
