package caddyauth

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

const (
	adminDefaultLimit = 100
	adminMaxLimit     = 1000
)

// adminQuery is the query of a request to the admin API.
type adminQuery struct {
	user, directory string // empty: all
	limit           int
	cursor          string // empty: from the first
}

// parseAdminQuery reads a query. A parameter that is not known, or is there
// twice, is refused: a misspelt one must not make a DELETE mean more than it
// says.
func parseAdminQuery(raw string, known []string) (adminQuery, error) {
	query := adminQuery{limit: adminDefaultLimit}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return query, fmt.Errorf("reading the query: %w", err)
	}
	for name, all := range values {
		if !slices.Contains(known, name) {
			if len(known) == 0 {
				return query, fmt.Errorf("unknown parameter %q: there are none here", name)
			}
			return query, fmt.Errorf("unknown parameter %q: there are %s", name, strings.Join(known, ", "))
		}
		if len(all) > 1 {
			return query, fmt.Errorf("parameter %q is there %d times", name, len(all))
		}
	}
	query.user, query.directory, query.cursor = values.Get("user"), values.Get("directory"), values.Get("cursor")
	if text := values.Get("limit"); text != "" {
		if query.limit, err = strconv.Atoi(text); err != nil || query.limit < 1 || query.limit > adminMaxLimit {
			return query, fmt.Errorf("limit %q is no number between 1 and %d", text, adminMaxLimit)
		}
	}
	return query, nil
}

// match is how a user is meant by a query, the weaker first. Several people can
// be of one email, and of one user name; and many can choose the one that a
// directory tells of them.
type match int

const (
	noMatch match = iota
	byEmail
	byUsername
	byID // and everybody, where no user is named
)

// match tells whether a user is meant: exactly by the ID, by the user name, with
// or without the directory's label, or by the email.
func (q *adminQuery) match(record *sessionstore.UserRecord) match {
	switch {
	case q.directory != "" && !strings.EqualFold(q.directory, record.Directory):
		return noMatch
	case q.user == "" || q.user == record.ID:
		return byID
	case strings.EqualFold(q.user, record.Username),
		strings.EqualFold(q.user, record.Username+"@"+record.Directory),
		strings.EqualFold(q.user+"@"+record.Directory, record.Username):
		return byUsername
	case strings.EqualFold(q.user, record.Email):
		return byEmail
	}
	return noMatch
}
