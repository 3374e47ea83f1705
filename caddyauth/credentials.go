package caddyauth

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"time"
	"unicode/utf8"
)

// What anybody may send to sign in: so much, within so long, and so many at
// once, which together bound the memory that strangers can take.
const (
	maxCredentials     = 64 << 10
	credentialsTimeout = 10 * time.Second
	maxReading         = 1024
)

// credentials are what a client sent to sign in. They are never logged.
type credentials struct {
	username, password string
	next               string
}

// credentialReader reads credentials from a request; refused is empty when it
// could. Blank and unsendable names are not its business: the directory layer
// refuses them like wrong passwords.
type credentialReader func(w http.ResponseWriter, r *http.Request) (creds credentials, refused code)

// readJSONCredentials reads the body of the sign-in API. Requiring the content
// type keeps cross-site forms out: they cannot send it without a preflight.
func readJSONCredentials(w http.ResponseWriter, r *http.Request) (credentials, code) {
	if mediaType, _ := contentType(r); mediaType != "application/json" {
		return credentials{}, codeUnsupportedMediaType
	}
	body, refused := readBody(w, r)
	if refused != "" {
		return credentials{}, refused
	}
	username, password, err := parseJSONCredentials(body)
	if err != nil {
		return credentials{}, codeInvalidJSON
	}
	return credentials{username: username, password: password}, ""
}

// readCredentials reads what the sign-in page's address takes: a form or JSON.
func readCredentials(w http.ResponseWriter, r *http.Request) (credentials, code) {
	mediaType, parameters := contentType(r)
	switch mediaType {
	case "application/json":
		return readJSONCredentials(w, r)
	case "application/x-www-form-urlencoded", "multipart/form-data":
	default:
		return credentials{}, codeUnsupportedMediaType
	}
	body, refused := readBody(w, r)
	if refused != "" {
		return credentials{}, refused
	}
	values := make(url.Values)
	if mediaType == "multipart/form-data" {
		var err error
		if values, err = parseMultipart(body, parameters["boundary"]); err != nil {
			return credentials{}, codeInvalidJSON
		}
	} else {
		for name, value := range formFields(string(body)) {
			values.Add(name, value)
		}
	}
	creds := credentials{username: only(values["username"]), password: only(values["password"]), next: only(values["next"])}
	if creds.next == "" {
		creds.next = r.URL.Query().Get("next")
	}
	return creds, ""
}

// contentType returns the media type of a request's body, "" for none, several
// or a malformed one.
func contentType(r *http.Request) (string, map[string]string) {
	values := r.Header["Content-Type"]
	if len(values) != 1 {
		return "", nil
	}
	mediaType, parameters, err := mime.ParseMediaType(values[0])
	if err != nil {
		return "", nil
	}
	return mediaType, parameters
}

// readBody reads a body that is bounded in size and time. The connection is
// closed on one that is too large, rather than drained.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, code) {
	if r.ContentLength > maxCredentials {
		if r.ProtoMajor == 1 { // on HTTP/2 it would end other requests too
			w.Header().Set("Connection", "close")
		}
		return nil, codeBodyTooLarge
	}
	// Caddy bounds the time between two reads, not that of a body which drips.
	late := time.Now().Add(credentialsTimeout)
	controller := http.NewResponseController(w)
	timer := time.AfterFunc(credentialsTimeout, func() { _ = controller.SetReadDeadline(time.Now()) })
	body, err := io.ReadAll(&promptReader{http.MaxBytesReader(w, r.Body, maxCredentials), late})
	if !timer.Stop() && err == nil {
		err = errTooSlow
	}
	if err != nil && !time.Now().Before(late) {
		// The reader may notice before the timer, which then never fires: without
		// a deadline the server would wait for the rest before it answers.
		_ = controller.SetReadDeadline(time.Now())
	}
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return nil, codeBodyTooLarge
		}
		return nil, codeInvalidJSON
	}
	return body, ""
}

// promptReader fails once its time is over.
type promptReader struct {
	io.Reader
	late time.Time
}

func (p *promptReader) Read(b []byte) (int, error) {
	if time.Now().After(p.late) {
		return 0, errTooSlow
	}
	return p.Reader.Read(b)
}

var errTooSlow = errors.New("the body took too long")

var errMembers = errors.New("not an object with these members, once each and as strings")

// parseJSONCredentials reads the object of a sign-in.
func parseJSONCredentials(body []byte) (username, password string, err error) {
	values, err := jsonStrings(body, "username", "password")
	return values["username"], values["password"], err
}

// jsonStrings accepts exactly one object in which each of the members stands
// once, as a string; others are passed over. Unlike encoding/json on a struct it
// takes no other spelling of the names and no second value, on which two
// readers could disagree.
func jsonStrings(body []byte, members ...string) (map[string]string, error) {
	if !utf8.Valid(body) {
		return nil, errMembers
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return nil, errMembers
	}
	values := make(map[string]string, len(members))
	for decoder.More() {
		key, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		var raw json.RawMessage
		if err := decoder.Decode(&raw); err != nil {
			return nil, err
		}
		name, _ := key.(string)
		if !slices.Contains(members, name) {
			continue
		}
		var value string
		if _, again := values[name]; again || len(raw) == 0 || raw[0] != '"' {
			return nil, errMembers
		}
		if err := json.Unmarshal(raw, &value); err != nil {
			return nil, err
		}
		values[name] = value
	}
	if _, err := decoder.Token(); err != nil { // the closing brace
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errMembers
	}
	if len(values) != len(members) {
		return nil, errMembers
	}
	return values, nil
}

// parseMultipart reads the fields of a multipart form; the body is bounded
// already.
func parseMultipart(body []byte, boundary string) (url.Values, error) {
	if boundary == "" {
		return nil, http.ErrMissingBoundary
	}
	form, err := multipart.NewReader(bytes.NewReader(body), boundary).ReadForm(maxCredentials)
	if err != nil {
		return nil, err
	}
	defer func() { _ = form.RemoveAll() }()
	return form.Value, nil
}

// only returns the one value of a field. Several are none: which one was meant
// cannot be known, and blank credentials are refused.
func only(values []string) string {
	if len(values) != 1 {
		return ""
	}
	return values[0]
}
