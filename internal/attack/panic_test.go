package attack

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
)

// panicPlace is a function of the product that a test has panic.
type panicPlace struct {
	file, receiver, function string

	// What is asked for then, by whom (nobody: ""), and what the answer is.
	method, path, body, by string
	status                 int
}

func (p panicPlace) name() string { return p.receiver + "." + p.function }

// panicPlaces are spread over the way of a request, and over the calls into
// store and directory. juan has a session in memory, "stored" one that must be
// read from the store.
var panicPlaces = []panicPlace{
	{"caddyauth/headers.go", "stripper", "strip", "GET", "/inside", "", juan, 500},
	{"caddyauth/sentcookies.go", "cookieConfig", "takeCookies", "GET", "/inside", "", juan, 500},
	{"caddyauth/path.go", "pathRules", "judge", "GET", "/open/page", "", "", 500},
	{"caddyauth/require.go", "RequireSession", "gather", "GET", "/inside", "", juan, 500},
	{"caddyauth/decide.go", "", "decide", "GET", "/inside", "", juan, 500},
	{"caddyauth/decide.go", "", "decide", "GET", "/inside", "", "", 500},
	{"caddyauth/groups.go", "groupResolver", "meets", "GET", "/admin/page", "", juan, 500},
	{"caddyauth/require.go", "RequireSession", "identify", "GET", "/inside", "", juan, 500},
	{"caddyauth/csrf.go", "", "csrfTokenSent", "POST", "/inside", "x", juan, 500},
	{"caddyauth/origin.go", "policy", "originAllowed", "POST", "/inside", "x", juan, 500},
	{"caddyauth/signin.go", "site", "answerRoute", "GET", "/accounts/login/", "", "", 500},
	{"caddyauth/prove.go", "site", "prove", "POST", "/api/login-ldap/", panicCredentials, "", 500},
	{"caddyauth/signout.go", "site", "endAll", "GET", "/api/logout/", "", juan, 500},
	{"caddyauth/showsession.go", "site", "showSession", "GET", "/api/session/", "", juan, 500},
	{"caddyauth/ownsessions.go", "site", "listSessions", "GET", "/accounts/sessions/", "", juan, 500},
	{"throttle/attempt.go", "Throttle", "Begin", "POST", "/api/login-ldap/", panicCredentials, "", 500},
	{"ldap/signin.go", "Directory", "prove", "POST", "/api/login-ldap/", panicCredentials, "", 503},
	{"sessionstore/badgerstore/store.go", "Store", "Get", "GET", "/inside", "", "stored", 503},
	{"sessionstore/badgerstore/store.go", "Store", "Create", "POST", "/api/login-ldap/", panicCredentials, "", 503},
	{"sessionstore/badgerstore/delete.go", "Store", "Delete", "GET", "/api/logout/", "", juan, 503},
	{"sessionstore/badgerstore/list.go", "Store", "List", "GET", "/accounts/sessions/", "", juan, 503},
	{"sessionstore/badgerstore/transact.go", "committer", "apply", "GET", "/api/logout/", "", juan, 503},
	{"sessionstore/badgerstore/transact.go", "committer", "apply", "POST", "/api/login-ldap/", panicCredentials, "", 503},
}

const panicCredentials = `{"username":"ac12345","password":"secreto"}`

// panicProgram builds Caddy so that each place panics while a file of its name is
// in a folder.
func panicProgram(t *testing.T) (program, folder string) {
	t.Helper()
	compiler := realserver.Program(t, "go")
	dir := t.TempDir()
	folder = filepath.Join(dir, "places")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	replace := map[string]string{}
	add := func(file, text string) {
		copied := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(copied, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		replace[filepath.Join(root, file)] = copied
	}
	texts := map[string]string{}
	for _, place := range panicPlaces {
		if texts[place.file] == "" {
			text, err := os.ReadFile(filepath.Join(root, place.file))
			if err != nil {
				t.Fatal(err)
			}
			texts[place.file] = string(text)
		}
		texts[place.file] = place.insert(t, texts[place.file])
		folder := filepath.Dir(place.file)
		add(folder+"/injected_panic.go", fmt.Sprintf(`package %s

import (
	"os"
	"path/filepath"
)

func injectedPanic(place string) {
	if _, err := os.Stat(filepath.Join(os.Getenv("CADDY_LDAP_PANICS"), place)); err == nil {
		panic("injected")
	}
}
`, filepath.Base(folder)))
	}
	for file, text := range texts {
		add(file, text)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	program = filepath.Join(dir, "caddy")
	if err := realserver.BuildCaddy(compiler, program, "-overlay", list); err != nil {
		t.Fatal(err)
	}
	return program, folder
}

// insert puts the panic at the beginning of the function, once.
func (p panicPlace) insert(t *testing.T, text string) string {
	t.Helper()
	call := fmt.Sprintf("injectedPanic(%q);", p.name())
	if strings.Contains(text, call) {
		return text
	}
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, p.file, text, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, declared := range file.Decls {
		function, ok := declared.(*ast.FuncDecl)
		if !ok || function.Name.Name != p.function || receiverOf(function) != p.receiver {
			continue
		}
		at := files.Position(function.Body.Lbrace).Offset + 1
		return text[:at] + call + text[at:]
	}
	t.Fatalf("%s has no %s: name the function that does its work now", p.file, p.name())
	return ""
}

func receiverOf(function *ast.FuncDecl) string {
	if function.Recv == nil {
		return ""
	}
	kind := function.Recv.List[0].Type
	if pointer, ok := kind.(*ast.StarExpr); ok {
		kind = pointer.X
	}
	if name, ok := kind.(*ast.Ident); ok {
		return name.Name
	}
	return ""
}

// Wherever the product panics, the request reaches nothing behind the gate, is
// answered all the same, and takes nothing else with it: not the process, not
// the session, not the next request.
func TestS38PanicsLetNobodyThrough(t *testing.T) {
	t.Parallel()
	program, folder := panicProgram(t)
	s, text := prepare(t, setup{site: `
	require_session {
		public /open/*
		require /admin/* "Ingenieria"
	}
	reverse_proxy UPSTREAM`})
	s.program, s.env = program, []string{"CADDY_LDAP_PANICS=" + folder}
	s.run(t, text)

	for _, place := range panicPlaces {
		t.Run(fmt.Sprintf("%s at %s by %q", place.name(), place.path, place.by), func(t *testing.T) {
			signedIn := s.signIn(t, juan)
			var fields []string
			switch place.by {
			case juan:
				fields = []string{"Cookie", signedIn.cookie(), "X-CSRFToken", signedIn.csrf}
			case "stored":
				fields = []string{"Cookie", "sessionid=" + strings.Repeat("A", 43)}
			}
			if place.body != "" {
				fields = append(fields, "Content-Type", "application/json")
			}
			s.echo.Forget()
			file := filepath.Join(folder, place.name())
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				r, err := s.send(place.method, place.path, place.body, fields...)
				if err != nil || r.status != place.status {
					t.Errorf("got %d %q %v, want %d", r.status, r.body, err, place.status)
				}
				if strings.Contains(r.body, "injected") || r.header.Get("Cache-Control") != "no-store" || !json.Valid([]byte(r.body)) && place.status == 500 {
					t.Errorf("the answer is %v %q", r.header, r.body)
				}
				if r.cookies["sessionid"] != nil {
					t.Errorf("it sets %v", r.header["Set-Cookie"])
				}
			}
			s.wantNothingUpstream(t)
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			wantServed(t, signedIn.get(t, "/admin/page"))
			wantRefused(t, s.do(t, "GET", "/inside", ""))
			if r := signedIn.do(t, "POST", "/api/logout/", "", "Cookie", signedIn.cookie(), "X-CSRFToken", signedIn.csrf); r.status != http.StatusOK {
				t.Errorf("signing out afterwards: %d %s", r.status, r.body)
			}
			wantRefused(t, signedIn.get(t, "/inside"))
		})
	}
	if err := s.child.Stop(); err != nil {
		t.Errorf("Caddy did not live to its end: %v", err)
	}
	log := s.read("caddy.json")
	for _, want := range []string{"judging a request panicked", "asking the directory panicked", "the session store panicked", "injected_panic.go"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not say %q", want)
		}
	}
}
