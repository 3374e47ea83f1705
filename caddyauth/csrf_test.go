package caddyauth

import (
	"bytes"
	"errors"
	"github.com/caddyauth/caddy-ldap/sessionstore"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

const testSecret = "lcccccccX2kcccccccY2jcccccccssIC"

// maskCSRF is Django's _mask_cipher_secret with a mask of its own.
func maskCSRF(secret, mask string) string {
	b := []byte(mask)
	for i := range secret {
		c := (strings.IndexByte(csrfAlphabet, secret[i]) + strings.IndexByte(csrfAlphabet, mask[i])) % len(csrfAlphabet)
		b = append(b, csrfAlphabet[c])
	}
	return string(b)
}

// TestUnmaskCSRF has the vectors of Django's own tests.
func TestUnmaskCSRF(t *testing.T) {
	for _, masked := range []string{
		"1bcdefghij2bcdefghij3bcdefghij4bcdefghij5bcdefghij6bcdefghijABCD",
		"2JgchWvM1tpxT2lfz9aydoXW9yT1DN3NdLiejYxOOlzzV4nhBbYqmqZYbAV3V5Bf",
	} {
		if got, ok := unmaskCSRF(masked); !ok || got != testSecret {
			t.Errorf("unmaskCSRF(%q) = %q, %v, want %q", masked, got, ok, testSecret)
		}
	}
	if _, ok := unmaskCSRF("!" + strings.Repeat("a", 63)); ok {
		t.Error("a mask outside the alphabet is accepted")
	}
	if _, ok := unmaskCSRF(strings.Repeat("a", 63) + "-"); ok {
		t.Error("a secret outside the alphabet is accepted")
	}
}

func TestCSRFMatches(t *testing.T) {
	masked := maskCSRF(testSecret, strings.Repeat("Zq7b", 8))
	for name, test := range map[string]struct {
		sent, secret string
		want         bool
	}{
		"plain":                  {testSecret, testSecret, true},
		"masked":                 {masked, testSecret, true},
		"another":                {strings.Repeat("a", 32), testSecret, false},
		"another, masked":        {maskCSRF(strings.Repeat("a", 32), strings.Repeat("Zq7b", 8)), testSecret, false},
		"empty":                  {"", testSecret, false},
		"both empty":             {"", "", false},
		"16 characters":          {testSecret[:16], testSecret, false},
		"31 characters":          {testSecret[:31], testSecret, false},
		"33 characters":          {testSecret + "a", testSecret, false},
		"63 characters":          {masked[:63], testSecret, false},
		"65 characters":          {masked + "a", testSecret, false},
		"with a space":           {testSecret + " ", testSecret, false},
		"other case":             {strings.ToLower(testSecret), testSecret, false},
		"exclamation mark":       {"!" + testSecret[1:], testSecret, false},
		"masked with other text": {strings.Repeat("!", 64), testSecret, false},
		"session without secret": {strings.Repeat("a", 64), "", false},
	} {
		if got := csrfMatches(test.sent, test.secret); got != test.want {
			t.Errorf("%s: csrfMatches = %v, want %v", name, got, test.want)
		}
	}
}

func FuzzCSRFUnmask(f *testing.F) {
	f.Add(testSecret, strings.Repeat("a", 32))
	f.Add("1bcdefghij2bcdefghij3bcdefghij4bcdefghij5bcdefghij6bcdefghijABCD", "")
	f.Fuzz(func(t *testing.T, sent, mask string) {
		if csrfMatches(sent, testSecret) {
			unmasked := sent
			if len(sent) == 64 {
				unmasked, _ = unmaskCSRF(sent)
			}
			if unmasked != testSecret {
				t.Errorf("%q passes for %q", sent, testSecret)
			}
		}
		if wellFormedCSRF(mask) && len(mask) == 32 && wellFormedCSRF(sent) && len(sent) == 32 {
			if got, ok := unmaskCSRF(maskCSRF(sent, mask)); !ok || got != sent {
				t.Errorf("masking %q with %q and back gives %q", sent, mask, got)
			}
		}
	})
}

func TestUnsafeMethods(t *testing.T) {
	for method, want := range map[string]bool{
		"GET": false, "HEAD": false, "OPTIONS": false, "TRACE": false,
		"POST": true, "PUT": true, "PATCH": true, "DELETE": true, "CONNECT": true, "PURGE": true, "FOO": true, "get": true, "PROPFIND": true,
	} {
		if got := isUnsafe(&http.Request{Method: method, URL: new(url.URL), Header: http.Header{}}); got != want {
			t.Errorf("isUnsafe(%s) = %v, want %v", method, got, want)
		}
	}
	for _, name := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"} {
		r := &http.Request{Method: "GET", URL: new(url.URL), Header: http.Header{}}
		r.Header.Set(name, "DELETE")
		if !isUnsafe(r) {
			t.Errorf("GET with %s is safe", name)
		}
	}
	for query, want := range map[string]bool{
		"_method=DELETE": true, "a=b&_method=put": true, "a=b;_method": true, "_Method=x": true, "%5Fmethod=x": true, "a&&_method": true,
		"": false, "&": false, "a=_method": false, "payment_method=x": false, "_methods=x": false, "%zz_method=x": false,
	} {
		if got := isUnsafe(&http.Request{Method: "GET", URL: &url.URL{RawQuery: query}, Header: http.Header{}}); got != want {
			t.Errorf("isUnsafe(GET ?%s) = %v, want %v", query, got, want)
		}
	}
}

func TestCSRFTokenSent(t *testing.T) {
	const other = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	field := "csrfmiddlewaretoken=" + testSecret
	token := header(csrfHeader, testSecret)
	big := strings.Repeat("a", maxFormBody)
	for _, test := range []struct {
		name    string
		method  string
		changes []change
		want    bool
		unread  bool // the body must not be touched
	}{
		{name: "header", changes: []change{token}, want: true},
		{name: "masked header", changes: []change{header(csrfHeader, maskCSRF(testSecret, other))}, want: true},
		{name: "wrong header", changes: []change{header(csrfHeader, other)}},
		{name: "one good header of two", changes: []change{header(csrfHeader, other, testSecret)}, want: true},
		{name: "other name of the header", changes: []change{header("X-Csrf-Token", testSecret)}},
		{name: "nothing"},
		{name: "field", changes: []change{form("a=b&" + field + "&c=d")}, want: true},
		{name: "field with a charset", changes: []change{body("application/x-www-form-urlencoded; charset=utf-8", field)}, want: true},
		{name: "encoded field", changes: []change{form("csrfmiddlewaretoken=%6c" + testSecret[1:])}, want: true},
		{name: "masked field", changes: []change{form("csrfmiddlewaretoken=" + maskCSRF(testSecret, other))}, want: true},
		{name: "good field, bad header", changes: []change{form(field), header(csrfHeader, other)}, want: true},
		{name: "good header, bad field", changes: []change{form("csrfmiddlewaretoken=" + other), token}, want: true, unread: true},
		{name: "wrong field", changes: []change{form("csrfmiddlewaretoken=" + other)}},
		{name: "empty field", changes: []change{form("csrfmiddlewaretoken=")}},
		{name: "broken field", changes: []change{form("csrfmiddlewaretoken=%zz")}},
		{name: "field of another name", changes: []change{form("csrfmiddlewaretoken2=" + testSecret)}},
		{name: "two fields, one good", changes: []change{form("csrfmiddlewaretoken=" + other + "&" + field)}, want: true},
		{name: "field in the query", changes: []change{func(r *http.Request) { r.URL.RawQuery = field }}},
		{name: "field of a PUT", method: "PUT", changes: []change{form(field)}, unread: true},
		{name: "JSON is not read", changes: []change{jsonBody(`{"csrfmiddlewaretoken":"` + testSecret + `"}`)}, unread: true},
		{name: "multipart is not read", changes: []change{body("multipart/form-data; boundary=x", field)}, unread: true},
		{name: "text is not read", changes: []change{body("text/plain", field)}, unread: true},
		{name: "no content type", changes: []change{body("", field)}, unread: true},
		{name: "form of exactly the limit", changes: []change{form(field + "&x=" + big[:maxFormBody-len(field)-3])}, want: true},
		{name: "form over the limit", changes: []change{form(field + "&x=" + big)}, unread: true},
		{name: "chunked form", changes: []change{form(field), func(r *http.Request) { r.ContentLength = -1 }}, want: true},
		{name: "chunked form over the limit", changes: []change{form(field + "&x=" + big), func(r *http.Request) { r.ContentLength = -1 }}},
	} {
		t.Run(test.name, func(t *testing.T) {
			method := test.method
			if method == "" {
				method = "POST"
			}
			r := requestFrom(t, method, "http://site.test/x", nil)
			r.Body = http.NoBody
			for _, change := range test.changes {
				change(r)
			}
			whole, _ := io.ReadAll(r.Body)
			reader := &countingReader{Reader: bytes.NewReader(whole)}
			r.Body = reader
			if got := csrfTokenSent(r, testSecret); got != test.want {
				t.Errorf("csrfTokenSent = %v, want %v", got, test.want)
			}
			if test.unread && reader.read > 0 {
				t.Errorf("%d bytes of the body were read", reader.read)
			}
			if reader.read > maxFormBody+1 {
				t.Errorf("%d bytes of the body were read", reader.read)
			}
			replayed, err := io.ReadAll(r.Body)
			if err != nil || !bytes.Equal(replayed, whole) {
				t.Errorf("the body came on with %d bytes (%v), not the %d that were sent", len(replayed), err, len(whole))
			}
			if err := r.Body.Close(); err != nil || !reader.closed {
				t.Errorf("the body is not closed: %v", err)
			}
		})
	}
}

// TestFormThatBreaksOff: what came before the error reaches the application,
// and then the same error.
func TestFormThatBreaksOff(t *testing.T) {
	broken := errors.New("connection lost")
	r := requestFrom(t, "POST", "http://site.test/x", nil, form(""))
	r.ContentLength = -1
	r.Body = &countingReader{Reader: io.MultiReader(strings.NewReader("csrfmiddlewaretoken="+testSecret), &failing{err: broken})}
	if csrfTokenSent(r, testSecret) {
		t.Error("half a form passes")
	}
	replayed, err := io.ReadAll(r.Body)
	if string(replayed) != "csrfmiddlewaretoken="+testSecret || !errors.Is(err, broken) {
		t.Errorf("the application reads %q, %v", replayed, err)
	}
}

type countingReader struct {
	io.Reader
	read   int
	closed bool
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.read += n
	return n, err
}

func (c *countingReader) Close() error { c.closed = true; return nil }

func TestWellFormedCSRF(t *testing.T) {
	if secret := sessionstore.NewCSRF(); !wellFormedCSRF(secret) || len(secret) != csrfSecretLength {
		t.Errorf("NewCSRF() = %q", secret)
	}
	for _, value := range []string{"", "a", strings.Repeat("a", 31), strings.Repeat("a", 33), strings.Repeat("a", 63), strings.Repeat("a", 31) + "-", strings.Repeat("é", 16)} {
		if wellFormedCSRF(value) {
			t.Errorf("wellFormedCSRF(%q)", value)
		}
	}
	if mask := rand.IntN(62); !wellFormedCSRF(strings.Repeat(csrfAlphabet[mask:mask+1], 64)) {
		t.Error("a masked token is not well-formed")
	}
}
