package pathreaders

import (
	"strings"

	"golang.org/x/text/unicode/norm"
)

// Rules are public and require lines in the words of a Caddyfile.
type Rules struct{ Public, Require []string }

// Reached is what a request means to some server: whether everybody sees it
// under a public line, and the require lines that somebody sees it under.
type Reached struct {
	// Outside is the first reader that sees no public line there, with the path
	// that it reads; "" if all see one.
	Outside string

	// Required are the require lines that a reader sees it under, with the
	// first such reader and its path.
	Required map[string]string
}

// Of asks every reader about a target's path as it came over the wire.
func (rules Rules) Of(readers []Reader, raw string) Reached {
	reached := Reached{Required: map[string]string{}}
	seen := map[string]bool{} // most readers read the same
	for _, reader := range readers {
		read := reader.Read(raw)
		if seen[read] {
			continue
		}
		seen[read] = true
		witness := reader.Name + ": " + read
		if reached.Outside == "" && !rules.isPublic(reader, read) {
			reached.Outside = witness
		}
		for _, line := range rules.Require {
			if reached.Required[line] == "" && isRequired(line, read) {
				reached.Required[line] = witness
			}
		}
	}
	return reached
}

// isPublic reads the line as the server reads the path: what matters is that
// both lie together.
func (rules Rules) isPublic(reader Reader, read string) bool {
	for _, line := range rules.Public {
		folder, tree := strings.CutSuffix(line, "/*")
		folder = strings.TrimSuffix(reader.Read(folder), "/")
		rest, ok := strings.CutPrefix(read, folder)
		if ok && (rest == "" || rest == "/" || tree && rest[0] == '/') {
			return true
		}
	}
	return false
}

// isRequired compares as a file system does that ignores case and how a letter
// is composed, and a server that ignores a last slash.
func isRequired(line, read string) bool {
	folder, tree := strings.CutSuffix(line, "/*")
	folder, read = anyCase(strings.TrimSuffix(folder, "/")), anyCase(read)
	rest, ok := strings.CutPrefix(read, folder)
	return ok && (rest == "" || rest == "/" || tree && rest[0] == '/')
}

func anyCase(s string) string {
	return norm.NFD.String(strings.ToLower(strings.ToUpper(norm.NFC.String(s))))
}
