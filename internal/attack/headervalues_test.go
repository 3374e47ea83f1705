package attack

import (
	"fmt"
	"strings"
	"testing"
)

// What a directory holds is text: a placeholder in it is not looked up, however
// often directives behind the gate pass it on.
func TestP25PlaceholdersInTheDirectoryStayText(t *testing.T) {
	t.Parallel()
	s := start(t, setup{directory: headerDirectory(), site: `
	require_session {
		forward_groups "IT Admins"
	}
	request_header X-Name {http.auth.user.name}
	request_header +X-Header {http.request.header.Remote-Name}
	header X-Answer {http.auth.user.name}
	handle {
		vars display {http.auth.user.name}
		@page path /page
		respond @page "{http.auth.user.name}|{vars.display}|{http.auth.user.email}"
		reverse_proxy UPSTREAM {
			header_up X-Up {http.auth.user.name}
			header_up X-Up2 {http.request.header.X-Name}
			header_up X-Display {vars.display}
			header_up X-First {http.auth.user.first_name}
			header_up X-Title {http.auth.user.title}
		}
	}`})
	const name = "{env.HOME} {file./etc/hostname} {http.request.header.Cookie}"
	marcas := s.signIn(t, "marcas")
	r := marcas.get(t, "/inside")
	wantServed(t, r)
	if got := r.header.Get("X-Answer"); got != name {
		t.Errorf("a header of the answer is %q", got)
	}
	got := s.echo.Last(t)
	headerWant(t, "the upstream", got, map[string]string{"REMOTE_USER": "marcas", "REMOTE_NAME": name, "REMOTE_EMAIL": "{env.PATH}@empresa.local"})
	for field, want := range map[string]string{
		"X-Name": name, "X-Header": name, "X-Up": name, "X-Up2": name, "X-Display": name, "X-First": "{env.HOME}", "X-Title": "{{env `HOME`}}",
	} {
		if values := got.Values(field); len(values) != 1 || values[0] != want {
			t.Errorf("%s arrived as %q, want %q", field, values, want)
		}
	}
	if page := marcas.get(t, "/page").body; page != name+"|"+name+"|{env.PATH}@empresa.local" {
		t.Errorf("a page says %q", page)
	}
	for _, path := range []string{"/api/session/", "/accounts/login/", "/accounts/sessions/"} {
		if r := marcas.get(t, path, "Accept", "text/html"); r.status != 200 || strings.Contains(r.body, s.dir) {
			t.Errorf("%s: %d, or it names the folder: %s", path, r.status, r.body)
		}
	}
}

// A line break in the directory must not end a header line.
func TestS21ControlCharactersOfTheDirectory(t *testing.T) {
	t.Parallel()
	s := start(t, setup{directory: headerDirectory(), site: `
	require_session {
		forward_groups "IT Admins"
	}
	@h2 path /h2
	reverse_proxy @h2 h2c://UPSTREAM {
		header_up X-Up {http.auth.user.name}
	}
	reverse_proxy UPSTREAM`})
	lineas := s.signIn(t, "lineas")
	for _, path := range []string{"/inside", "/h2"} {
		s.echo.Forget()
		r := lineas.get(t, path)
		if path == "/inside" {
			wantServed(t, r)
			headerWant(t, path, s.echo.Last(t), map[string]string{"REMOTE_USER": "lineas"}) // no such value is taken
		}
		for _, request := range s.echo.Requests() {
			if strings.Contains(request.Line, "/admin") || len(request.CGI()["REMOTE_GROUPS"]) != 0 {
				t.Errorf("a value became a request or a header: %q", request.Raw)
			}
			for _, field := range request.Header {
				if strings.ContainsAny(field.Name+field.Value, "\r\n\x00\x7f") {
					t.Errorf("a control character arrived: %q", field)
				}
			}
		}
	}
	// Nor a message of our own.
	for _, path := range []string{"/api/session/", "/accounts/login/"} {
		if r := lineas.get(t, path); r.status != 200 || r.header.Get("Remote-Groups") != "" || strings.Contains(r.body, "\r\n\r\nGET") {
			t.Errorf("%s: %d %v %q", path, r.status, r.header, r.body)
		}
	}
}

// A group whose name looks like two, or like two lines, is one.
func TestB08NamesOfGroupsForgeNoGroup(t *testing.T) {
	t.Parallel()
	s := start(t, setup{directory: headerDirectory(), site: `
	require_session {
		forward_groups "Ventas, IT Admins" "100%2C seguro" "IT Admins"
	}
	reverse_proxy UPSTREAM`})
	lineas := s.signIn(t, "lineas")
	wantServed(t, lineas.get(t, "/inside"))
	if got := s.echo.Last(t).Values("Remote-Groups"); len(got) != 1 || got[0] != "Ventas%2C IT Admins,100%252C seguro" {
		t.Errorf("the groups arrived as %q", got)
	}
}

// What the directory holds without bound arrives within one.
func TestS21HugeValuesOfTheDirectory(t *testing.T) {
	t.Parallel()
	dir := headerDirectory()
	for i := range dir.Users {
		if dir.Users[i].SAMAccountName == "nadie" {
			dir.Users[i].ExtraAttributes = map[string][]string{"displayName": {strings.Repeat("Ñ", 60000)}, "mail": {strings.Repeat("x", 60000) + "@empresa.local"}}
		}
	}
	for i := range 900 { // a Windows token has room for little more
		dir.Groups = append(dir.Groups, headerGroup(i))
		dir.Users[0].MemberOf = append(dir.Users[0].MemberOf, headerGroup(i).Name)
	}
	s := start(t, setup{directory: dir, site: "require_session {\nforward_groups \"IT Admins\" \"Departamento 7\"\n}\nreverse_proxy UPSTREAM"})
	for user, groups := range map[string]string{"nadie": "", juan: "Departamento 7"} {
		wantServed(t, s.signIn(t, user).get(t, "/inside"))
		r := s.echo.Last(t)
		if got := strings.Join(r.Values("Remote-Groups"), "|"); got != groups {
			t.Errorf("%s: the groups arrived as %q", user, got)
		}
		size := 0
		for _, field := range r.Header {
			size += len(fmt.Sprint(field))
		}
		if size > 8<<10 {
			t.Errorf("%s: a header of %d bytes", user, size)
		}
	}
}
