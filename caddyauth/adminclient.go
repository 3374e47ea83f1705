package caddyauth

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

// adminClient asks the admin API of a running Caddy.
type adminClient struct {
	address string
}

// errNotFound is an answer that there is no such session or user.
var errNotFound = errors.New("not found")

// maxAdminAnswer bounds what is read of an answer: a page of 1000 sessions with
// the longest names, and more.
const maxAdminAnswer = 64 << 20

// do sends a request and returns the answer's body, if it is a success. Errors
// are harmless for a terminal.
func (c *adminClient) do(method, path string, query url.Values) ([]byte, error) {
	uri := path
	if len(query) > 0 {
		uri += "?" + query.Encode()
	}
	// Each request has a connection of its own, which nothing else would close.
	response, err := caddycmd.AdminAPIRequest(c.address, method, uri, http.Header{"Connection": {"close"}}, nil)
	if err != nil {
		return nil, c.explain(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAdminAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the answer of the admin endpoint %q: %w", c.address, err)
	case len(body) > maxAdminAnswer:
		return nil, fmt.Errorf("the answer of the admin endpoint %q has more than %d bytes", c.address, maxAdminAnswer)
	case !json.Valid(body):
		return nil, fmt.Errorf("what answers at %q is no admin endpoint of Caddy's: it sends no JSON", c.address)
	}
	return body, nil
}

// explain says what is wrong in the words of the API, where it answered.
func (c *adminClient) explain(err error) error {
	status, body, ok := refusalIn(err)
	if !ok {
		return fmt.Errorf("asking the admin endpoint %q (is Caddy running, and is --address right?): %s", c.address, printable(err.Error()))
	}
	var refusal struct {
		Error string `json:"error"`
	}
	known := json.Unmarshal([]byte(body), &refusal) == nil && refusal.Error != ""
	switch {
	case known && status == http.StatusNotFound && (refusal.Error == noSuchSession || refusal.Error == noSuchUser):
		return fmt.Errorf("%w: %s", errNotFound, refusal.Error)
	case known:
		return fmt.Errorf("the admin endpoint %q answers %d: %s", c.address, status, printable(refusal.Error))
	case status == http.StatusNotFound:
		return fmt.Errorf("the Caddy at %q has no such API: it runs without this plugin, or with an older one", c.address)
	}
	return fmt.Errorf("the admin endpoint %q answers %d", c.address, status)
}

// refusalIn finds status and body of an answer in the error that Caddy makes of
// it: there is nothing else that it gives.
func refusalIn(err error) (status int, body string, ok bool) {
	text, ok := strings.CutPrefix(err.Error(), "caddy responded with error: HTTP ")
	if !ok {
		return 0, "", false
	}
	number, body, ok := strings.Cut(text, ": ")
	if status, err = strconv.Atoi(number); err != nil || !ok {
		return 0, "", false
	}
	return status, body, true
}
