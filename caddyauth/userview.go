package caddyauth

import (
	"net/http"
	"strings"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// userView is what requests need of a session's user, prepared once for as
// long as the session stays in memory. It depends on the session alone.
type userView struct {
	memberships
	user                  *sessionstore.User
	username, name, email string // as header values
}

// viewOf returns the session's view.
func viewOf(session sessionstore.Handle) *userView {
	return session.Derived(newUserView).(*userView)
}

func newUserView(session *sessionstore.Session) any {
	user := &session.User
	return &userView{
		memberships: indexGroups(user.Groups),
		user:        user,
		username:    headerText(user.Username),
		name:        headerText(user.DisplayName),
		email:       headerText(user.Email),
	}
}

// userPlaceholders is what the names of a user's placeholders begin with.
const userPlaceholders = "http.auth.user."

// showUser makes a user known to access logs, FastCGI and other directives, in
// the place of any shown before. What another provider said of somebody else
// goes first, so that no request speaks of two people.
func (q *request) showUser(r *http.Request, view *userView, groups string) {
	repl := replacerOf(r)
	repl.DeleteByPrefix(userPlaceholders)
	if q.shown == nil {
		repl.Map(q.placeholder)
	}
	q.shown, q.shownGroups = view.user, groups
}

// placeholder is the value of one of the shown user's placeholders. They are
// looked up, not set: most requests ask for one of them at the most.
func (q *request) placeholder(key string) (any, bool) {
	name, ok := strings.CutPrefix(key, userPlaceholders)
	if !ok {
		return nil, false
	}
	user := q.shown
	switch name {
	case "id":
		return user.Username, true
	case "groups":
		return q.shownGroups, true
	case "uid":
		return user.ID, true
	case "dn":
		return user.DN, true
	case "name":
		return user.DisplayName, true
	case "first_name":
		return user.FirstName, true
	case "last_name":
		return user.LastName, true
	case "email":
		return user.Email, true
	case "upn":
		return user.UPN, true
	case "title":
		return user.Title, true
	case "manager":
		return user.Manager, true
	}
	return nil, false
}

// setHeaders tells the application who is signed in. A value that is empty
// leaves its header out: the client's own was removed before.
func (v *userView) setHeaders(h http.Header, names IdentityHeaders, groups string) {
	values := [...]struct{ name, value string }{
		{names.User, v.username}, {names.Name, v.name}, {names.Email, v.email}, {names.Groups, groups},
	}
	// One backing array, of which no two headers and no two requests share an
	// element: header operations edit values in place.
	backing := make([]string, 0, len(values))
	for _, value := range values {
		if value.value == "" {
			delete(h, value.name)
			continue
		}
		backing = append(backing, value.value)
		n := len(backing)
		h[value.name] = backing[n-1 : n : n]
	}
}
