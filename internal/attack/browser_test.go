package attack

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyauth/caddy-ldap/internal/browser"
	"github.com/caddyauth/caddy-ldap/internal/rawecho"
	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// chromium is the browser of this package's tests.
var chromium browser.Shared

// browserSetup is a site that people use with a browser. In trusted PAGES is the
// port on which others have their pages.
type browserSetup struct {
	tls        bool
	host       string // default: app.corp.test
	trusted    string // origins; default: none
	sessions   string // lines of the sessions block
	plainPages bool   // others' pages are on plain HTTP, whatever the site is on
}

// browserSite is such a site, and what the browser does with it.
type browserSite struct {
	*site
	host   string // and port
	origin string // as the browser has it
	pages  string // the address of other people's pages, which are on HOST
}

// startBrowserTest starts a site, joins the browser and lets other tests run.
func startBrowserTest(t *testing.T, setup browserSetup) *browserSite {
	t.Helper()
	chromium.Join(t)
	t.Parallel()
	return startBrowserSite(t, setup)
}

func startBrowserSite(t *testing.T, given browserSetup) *browserSite {
	t.Helper()
	if given.host == "" {
		given.host = "app.corp.test"
	}
	pages := startBrowserPages(t, given.tls && !given.plainPages)
	lines := "require_session {\n public /open/*\n"
	if given.trusted != "" {
		lines += "trusted_origins " + strings.ReplaceAll(given.trusted, "PAGES", strings.Trim(pages[strings.LastIndex(pages, ":"):], ":/")) + "\n"
	}
	lines += "}\nreverse_proxy UPSTREAM"
	site := setup{site: lines, sessions: given.sessions, tls: given.tls}
	if given.tls {
		site.more = "https://" + given.host + ":PORT {\n bind 127.0.0.1\n tls CERTIFICATE\n log {\n output file DIR/access.json\n }\n" + lines + "\n}"
	}
	s := &browserSite{site: start(t, site), pages: pages}
	s.host = given.host + ":" + s.port
	s.origin = "http://" + s.host
	if given.tls {
		s.origin = "https://" + s.host
	}
	s.echo.Answer(browserUpstream)
	return s
}

// page is the address of a page on a host of others.
func (s *browserSite) page(host string) string { return strings.Replace(s.pages, "HOST", host, 1) }

// browserUpstream agrees to every WebSocket.
func browserUpstream(r rawecho.Request) string {
	if keys := r.Values("Sec-WebSocket-Key"); len(keys) == 1 {
		sum := sha1.Sum([]byte(keys[0] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
			base64.StdEncoding.EncodeToString(sum[:]) + "\r\n\r\n"
	}
	return ""
}

// startBrowserPages serves pages for every HOST, at the address that it returns.
// Below /302 and /307 it sends the browser on, with that status.
func startBrowserPages(t *testing.T, tls bool) string {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/302":
			http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusFound)
		case "/307":
			http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusTemporaryRedirect)
		case "/":
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = w.Write([]byte("<!doctype html><title>another site</title><body><script>" + browserTools + "</script>"))
		default:
			http.NotFound(w, r)
		}
	}))
	if tls {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	return strings.Replace(server.URL, "127.0.0.1", "HOST", 1) + "/"
}

// browserTools are what the scripts of others' pages are made of. Each returns
// what the page gets to read, which is "" when that is nothing.
const browserTools = `
const wait = element => new Promise(resolve => element.onload = element.onerror = () => resolve(""));
const texts = frame => { try { return frame.contentDocument.body.innerText } catch { return "" } };

async function add(tag, attributes) {
	const element = document.createElement(tag);
	for (const name in attributes) element.setAttribute(name, attributes[name]);
	const done = wait(element);
	document.body.append(element);
	await done;
	return tag === "iframe" ? texts(element) : "";
}

function form(method, action, enctype, fields, target = "") {
	const form = document.createElement("form");
	Object.assign(form, {method, action, enctype, target});
	for (const name in fields) {
		const field = document.createElement("input");
		Object.assign(field, {type: "hidden", name, value: fields[name]});
		form.append(field);
	}
	document.body.append(form);
	return form;
}

async function post(action, enctype, fields, method = "POST") {
	const frame = document.createElement("iframe");
	frame.name = "frame" + document.forms.length;
	document.body.append(frame);
	const done = wait(frame);
	form(method, action, enctype, fields, frame.name).submit();
	await done;
	return texts(frame);
}

async function ask(url, options) {
	try {
		const answer = await fetch(url, {credentials: "include", ...options});
		return answer.type === "opaque" ? "" : answer.status + " " + await answer.text();
	} catch { return "" }
}

function xhr(method, url, body) {
	return new Promise(resolve => {
		const request = new XMLHttpRequest();
		request.open(method, url);
		request.withCredentials = true;
		request.onload = () => resolve(request.status + " " + request.responseText);
		request.onerror = () => resolve("");
		request.send(body);
	});
}

function socket(url) {
	return new Promise(resolve => {
		const socket = new WebSocket(url.replace(/^http/, "ws"));
		socket.onopen = () => { resolve("open"); socket.close() };
		socket.onerror = () => resolve("");
	});
}
`

// openTab opens a tab on a public page of the site, in a profile of its own,
// and signs a person in there unless the name is "".
func (s *browserSite) openTab(t *testing.T, username string) *browser.Tab {
	t.Helper()
	tab := chromium.Tab(t)
	tab.Visit(s.origin + "/open/page")
	if username != "" {
		body, err := json.Marshal(map[string]string{"username": username, "password": ldaptest.DemoPassword})
		if err != nil {
			t.Fatal(err)
		}
		script := fmt.Sprintf(`fetch("/api/login-ldap/", {method: "POST", headers: {"Content-Type": "application/json"}, body: %q}).then(r => r.status)`, body)
		if status := browser.Eval[int](tab, script); status != http.StatusOK {
			t.Fatalf("signing in: %d", status)
		}
	}
	return tab
}

// browserUser tells whom the site takes a tab on its own page for, "" for nobody.
func browserUser(tab *browser.Tab) string {
	return browser.Eval[string](tab, `fetch("/api/session/").then(r => r.json()).then(session => session.username || "")`)
}

// browserRequest is a line of the access log.
type browserRequest struct {
	Request struct {
		Method, URI, Host string
		Headers           map[string][]string
	}
	Status int
}

// arrived waits until the site has answered a request that it had not when its
// access log was that long. It shows that an attack took place at all, and is
// the browser's own word on where it came from.
func (s *browserSite) arrived(t *testing.T, logged int, line string) (found browserRequest) {
	t.Helper()
	s.eventually(t, "the browser's "+line, func() bool {
		for text := range strings.Lines(s.read("access.json")[logged:]) {
			var r browserRequest
			if json.Unmarshal([]byte(text), &r) == nil && r.Request.Method+" "+r.Request.URI == line {
				found = r
				return true
			}
		}
		return false
	})
	return found
}
