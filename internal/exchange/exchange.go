// Package exchange is the HTTP client of the suites that test the program from
// outside: the test spells a request, and its answer is read whole.
package exchange

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Client follows no redirect: where one leads is for the test to judge.
func Client(transport *http.Transport) *http.Client {
	return &http.Client{
		Transport: transport, Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Send sends a request; fields are names and values of header lines, in turn. A
// field Host is the request's Host.
func Send(client *http.Client, method, url, body string, fields ...string) (*http.Response, error) {
	request, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	for i := 0; i+1 < len(fields); i += 2 {
		if fields[i] == "Host" {
			request.Host = fields[i+1]
			continue
		}
		request.Header[fields[i]] = append(request.Header[fields[i]], fields[i+1]) // in this spelling
	}
	return client.Do(request)
}

// Read reads an answer whole; cookies are those that it sets, by name.
func Read(response *http.Response) (body string, cookies map[string]*http.Cookie, err error) {
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	cookies = map[string]*http.Cookie{}
	for _, cookie := range response.Cookies() {
		cookies[cookie.Name] = cookie
	}
	return string(text), cookies, err
}

// Answered returns what send does, and ends the test where that is an error. A
// GET that is cut, as one is whose session ends meanwhile, is sent again.
func Answered[R any](t testing.TB, method, path string, send func() (R, error)) R {
	t.Helper()
	r, err := send()
	for try := 0; try < 3 && method == http.MethodGet && cut(err); try++ {
		r, err = send()
	}
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return r
}

func cut(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
