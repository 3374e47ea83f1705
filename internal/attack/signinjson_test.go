package attack

import (
	"bytes"
	"encoding/json"
)

// signInJSON is the body of a sign-in, with names as they are.
func signInJSON(username, password string) string {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(map[string]string{"username": username, "password": password})
	return b.String()
}
