package caddyauth

import (
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// userView is what requests need of a session's user, prepared once for as
// long as the session stays in memory. It depends on the session alone.
type userView struct {
	memberships
	id                    any // the user name, boxed for the replacer
	placeholders          caddy.ReplacerFunc
	username, name, email string // as header values
}

// viewOf returns the session's view.
func viewOf(session sessionstore.Handle) *userView {
	return session.Derived(newUserView).(*userView)
}

func newUserView(session *sessionstore.Session) any {
	user := &session.User
	return &userView{
		memberships:  indexGroups(user.Groups),
		id:           user.Username,
		username:     headerText(user.Username),
		name:         headerText(user.DisplayName),
		email:        headerText(user.Email),
		placeholders: func(key string) (any, bool) { return placeholder(user, key) },
	}
}

// placeholder is the value of one of the user's placeholders beside the id.
func placeholder(user *sessionstore.User, key string) (any, bool) {
	name, ok := strings.CutPrefix(key, "http.auth.user.")
	if !ok {
		return nil, false
	}
	switch name {
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

// setPlaceholders makes the user known to access logs, FastCGI and other
// directives. What another provider said of somebody else goes first, so that
// no request speaks of two people. The rest is looked up only when asked for.
func (v *userView) setPlaceholders(repl *caddy.Replacer) {
	repl.DeleteByPrefix("http.auth.user.")
	repl.Set("http.auth.user.id", v.id)
	repl.Map(v.placeholders)
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
