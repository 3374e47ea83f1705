package caddyauth

import (
	"bytes"
	"crypto/subtle"
	"io"
	"iter"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

const (
	csrfHeader = "X-Csrftoken"
	csrfField  = "csrfmiddlewaretoken"

	// csrfSecretLength and csrfAlphabet are Django's: a Django application
	// behind us takes the same cookie and header for its own.
	csrfSecretLength = 32
	csrfAlphabet     = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

	// maxFormBody bounds how much of a form is kept in memory to find the
	// token in it.
	maxFormBody = 1 << 20
)

// isUnsafe tells whether a request may change something. A safe method with an
// override is taken for what an application may make of it: in the query any
// link can carry one.
func isUnsafe(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
	default:
		return true
	}
	for _, override := range [...]string{"X-Http-Method-Override", "X-Http-Method", "X-Method-Override"} {
		if _, ok := r.Header[override]; ok {
			return true
		}
	}
	return overridesMethod(r.URL.RawQuery)
}

// overridesMethod looks for the parameter _method, as tolerant as the most
// tolerant application: some end a parameter at a semicolon.
func overridesMethod(query string) bool {
	for pair := range strings.FieldsFuncSeq(query, func(c rune) bool { return c == '&' || c == ';' }) {
		name, _, _ := strings.Cut(pair, "=")
		if name, err := url.QueryUnescape(name); err == nil && strings.EqualFold(name, "_method") {
			return true
		}
	}
	return false
}

// csrfTokenSent tells whether the request shows the session's secret, in the
// header or, for a form that was posted, in its field. The field is looked for
// only where the header does not decide, so that uploads and JSON bodies are
// never touched. What was read of a body is put back byte for byte.
func csrfTokenSent(r *http.Request, secret string) bool {
	for _, value := range r.Header[csrfHeader] {
		if csrfMatches(value, secret) {
			return true
		}
	}
	if r.Method != http.MethodPost || r.Body == nil || !isURLEncoded(r.Header) || r.ContentLength > maxFormBody {
		return false
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxFormBody+1))
	r.Body = &replayedBody{Reader: io.MultiReader(bytes.NewReader(body), &failing{r.Body, err}), Closer: r.Body}
	if err != nil || len(body) > maxFormBody {
		return false
	}
	for name, value := range formFields(string(body)) {
		if name == csrfField && csrfMatches(value, secret) {
			return true
		}
	}
	return false
}

// formFields yields the fields of a urlencoded form. Unlike net/url it splits
// at & alone, as browsers and curl do: a password may hold a semicolon. Fields
// that cannot be decoded are passed over.
func formFields(body string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for pair := range strings.SplitSeq(body, "&") {
			name, value, _ := strings.Cut(pair, "=")
			name, err := url.QueryUnescape(name)
			if err != nil {
				continue
			}
			value, err = url.QueryUnescape(value)
			if err != nil {
				continue
			}
			if !yield(name, value) {
				return
			}
		}
	}
}

// replayedBody is a body whose beginning was read already.
type replayedBody struct {
	io.Reader
	io.Closer
}

// failing repeats the error that ended an earlier read.
type failing struct {
	reader io.Reader
	err    error
}

func (f *failing) Read(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return f.reader.Read(p)
}

func isURLEncoded(h http.Header) bool {
	mediaType, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && mediaType == "application/x-www-form-urlencoded"
}

// csrfMatches compares in constant time, the plain secret or Django's masked
// form of it (64 characters).
func csrfMatches(sent, secret string) bool {
	if len(sent) == 2*csrfSecretLength {
		unmasked, ok := unmaskCSRF(sent)
		if !ok {
			return false
		}
		sent = unmasked
	}
	return len(secret) == csrfSecretLength && subtle.ConstantTimeCompare([]byte(sent), []byte(secret)) == 1
}

// unmaskCSRF undoes the masking of Django's templates: the first half is the
// mask, the second the secret shifted by it, in the order of csrfAlphabet
// (django.middleware.csrf._unmask_cipher_token).
func unmaskCSRF(token string) (string, bool) {
	secret := make([]byte, csrfSecretLength)
	for i := range secret {
		mask := strings.IndexByte(csrfAlphabet, token[i])
		cipher := strings.IndexByte(csrfAlphabet, token[csrfSecretLength+i])
		if mask < 0 || cipher < 0 {
			return "", false
		}
		secret[i] = csrfAlphabet[(cipher-mask+len(csrfAlphabet))%len(csrfAlphabet)]
	}
	return string(secret), true
}

// wellFormedCSRF tells whether a csrftoken cookie is one that we, or a Django
// application, could have set.
func wellFormedCSRF(value string) bool {
	if len(value) != csrfSecretLength && len(value) != 2*csrfSecretLength {
		return false
	}
	for i := range len(value) {
		if strings.IndexByte(csrfAlphabet, value[i]) < 0 {
			return false
		}
	}
	return true
}
