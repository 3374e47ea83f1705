package caddyauth

import (
	"net/http"

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
	user := session.User
	view := &userView{
		memberships: indexGroups(user.Groups),
		id:          user.Username,
		username:    headerText(user.Username),
		name:        headerText(user.DisplayName),
		email:       headerText(user.Email),
	}
	values := map[string]any{
		"http.auth.user.uid":        user.ID,
		"http.auth.user.dn":         user.DN,
		"http.auth.user.name":       user.DisplayName,
		"http.auth.user.first_name": user.FirstName,
		"http.auth.user.last_name":  user.LastName,
		"http.auth.user.email":      user.Email,
		"http.auth.user.upn":        user.UPN,
		"http.auth.user.title":      user.Title,
		"http.auth.user.manager":    user.Manager,
	}
	view.placeholders = func(key string) (any, bool) {
		value, ok := values[key]
		return value, ok
	}
	return view
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
