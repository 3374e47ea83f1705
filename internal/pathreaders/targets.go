package pathreaders

import (
	"math/rand/v2"
	"strings"
)

// Corpus are spellings with which paths were smuggled past checks of other
// products, below and beside /static and /admin.
func Corpus() []string {
	var targets []string
	for _, way := range []string{
		"..", ".", "...", ". .", ".. ", "..%20", "%2e%2e", "%2E.", ".%2e", "%252e%252e", "%25252e%25252e", "..;", "..;x=1", ";/..", ".;x/..", "%3b/..",
		"..%3b", "..%00", "%00/..", "..%2f", "..%2F", "..%252f", `..\`, "..%5c", "..%255c", "%5c..%5c", `\..\`, "x%2f..%2f..", "x%5c..%5c..",
		"..%c0%af", "%c0%ae%c0%ae", "%e0%80%ae%e0%80%ae", "..%ef%bc%8f", "%ef%bc%8e%ef%bc%8e", "%e2%80%a5", "..%c2%a5", "..%e2%88%95", "..%e2%81%84",
		".%e2%80%8b.", "..::$INDEX_ALLOCATION", "..:x", "x/../..", "x//../..", "//..", "", "/", "./..", "..#", "..%23", "..%3f", "..?", "x%3f/..", "x%23/..",
	} {
		targets = append(targets, "/static/"+way+"/admin/x", "/static/"+way+"admin/x", "/static"+way+"/admin/x")
	}
	return append(targets,
		"/admin", "/ADMIN", "/%61dmin", "/%41DMIN", "/admin/", "/admin//", "//admin", "/./admin", "/admin/.", "/admin;x", "/;x/admin", "/admin%3bx", "/admin%20",
		"/admin.", "/admin%2e", "/admin...", "/admin%00", "/admin%00.css", "/admin%2fx", "/admin%5cx", `/admin\x`, `\admin`, "/%5cadmin", "/%2fadmin",
		"/admin%3fx", "/admin%23x", "/admin#x", "/admin#/static/x", "/admin?/static/x", "/admin%253fx", "/%2561dmin", "/admin::$DATA", "/admin::$INDEX_ALLOCATION/x",
		"/admin:x/y", "/%ef%bd%81dmin", "/adm%c4%b0n/x", "/adm%c4%b1n", "/ad%e2%80%8bmin", "/admin%c2%a0", "/admin%e2%80%a6", "/admin%ef%bc%8fx", "/%ef%bc%8fadmin",
		"/[a]dmin", "/a*min", "/admin%0a", "/admin%0d%0aX:y", "/admin%09", "/admin%7f", "/admin%c2%85", "/admin%ff", "/admi%6e%20/x", "/x/../admin", "/x/%2e%2e/admin",
		"/static", "/static/", "/static/a.css", "/st%61tic/a.css", "/static/a.css;v=1", "/static/a%20b.css", "/static/caf%c3%a9", "/static/a.css?v=/admin", "/static/a:b@c",
		"/static?/admin", "/static%3f", "/static/%", "/static/%zz", "/Static/a.css", "/STATIC/../admin", "/staticx/a", "/health", "/health/", "/health.", "/health%20",
		"/health/../admin", "/health#/admin", "/%68ealth", "/HEALTH", "/health/x", "/caf%c3%a9/x", "/cafe%cc%81/x", "/CAF%c3%89/x", "/other", "/",
	)
}

// Target makes up a path: pieces that are harmless in one order lead elsewhere
// in another.
func Target(random *rand.Rand) string {
	names := []string{"static", "admin", "health", "hr", "x", "Admin", "STATIC", "%61dmin", "café", "cafe\u0301", "%ef%bd%81dmin"}
	marks := []string{
		"/", "/", "/", "/", "//", "..", "/../", "/./", ".", "%2e", "%2E%2e", "%252e", "%2f", "%2F", "%252f", "%5c", `\`, ";", ";a=b", "%3b", "%00", "%20", "%09",
		"%25", "%3f", "%23", "#", "?", ":", "::$DATA", "%c0%af", "%c2%a5", "%ef%bc%8f", "%ef%bc%8e", "%e2%80%8b", "%e2%80%a6", "%c2%85", "~1", "*", "+", "%2", "=",
	}
	var target strings.Builder
	target.WriteByte('/')
	for range 1 + random.IntN(7) {
		if random.IntN(2) == 0 {
			target.WriteString(names[random.IntN(len(names))])
		} else {
			target.WriteString(marks[random.IntN(len(marks))])
		}
	}
	return target.String()
}
