package caddyauth

import (
	"context"
	"iter"
	"net/http"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
)

// adminUser is a user record in an answer.
type adminUser struct {
	Directory   string    `json:"directory"`
	ID          string    `json:"id"`
	Username    string    `json:"username"`
	Name        string    `json:"name"`
	FirstName   string    `json:"first_name"`
	LastName    string    `json:"last_name"`
	Email       string    `json:"email"`
	FirstSignIn time.Time `json:"first_sign_in"`
	LastSignIn  time.Time `json:"last_sign_in"`
	SignIns     uint64    `json:"sign_ins"`
}

func adminUserOf(r *sessionstore.UserRecord) adminUser {
	return adminUser{
		Directory: r.Directory, ID: r.ID, Username: r.Username, Name: r.DisplayName,
		FirstName: r.FirstName, LastName: r.LastName, Email: r.Email,
		FirstSignIn: wholeSecond(r.FirstSignIn), LastSignIn: wholeSecond(r.LastSignIn), SignIns: r.SignIns,
	}
}

// wholeSecond is a time as answers have it: UTC, without fractions.
func wholeSecond(at time.Time) time.Time { return at.UTC().Truncate(time.Second) }

// adminUserPage is a page of the listing of users.
type adminUserPage struct {
	Users []adminUser `json:"users"`
	Next  string      `json:"next,omitempty"`
}

func listUsers(ctx context.Context, call *adminCall) (any, error) {
	const of = "users"
	from, err := call.place(ctx, of)
	if err != nil {
		return nil, err
	}
	page := adminUserPage{Users: []adminUser{}}
	for found, err := range call.users(ctx, from) {
		if err != nil {
			return nil, err
		}
		if len(page.Users) == call.query.limit {
			if page.Next, err = call.cursor(ctx, of, found.at); err != nil {
				return nil, err
			}
			break
		}
		page.Users = append(page.Users, adminUserOf(found.user))
	}
	return page, nil
}

// foundUser is a user of a listing, and the place where it begins with this one.
type foundUser struct {
	user *sessionstore.UserRecord
	by   match
	at   listPlace
}

// userPage is how many user records are in memory at a time.
const userPage = 256

// users yields the users that the query matches, from a place on. All records
// are looked at, a page at a time: nothing but the directory and the ID leads
// to one.
func (call *adminCall) users(ctx context.Context, from listPlace) iter.Seq2[foundUser, error] {
	return func(yield func(foundUser, error) bool) {
		skipping := from.ID != ""
		for after := from.Users; ; {
			page, next, err := call.sessions.Users(ctx, after, userPage)
			if err != nil {
				yield(foundUser{}, err)
				return
			}
			for i := range page {
				user := &page[i]
				at := listPlace{Users: after, Directory: user.Directory, ID: user.ID}
				if skipping {
					if user.Directory != from.Directory || user.ID != from.ID {
						continue
					}
					skipping, at.Sessions = false, from.Sessions
				}
				if by := call.query.match(user); by != noMatch && !yield(foundUser{user, by, at}, nil) {
					return
				}
			}
			if after = next; next == "" {
				break
			}
		}
		if skipping {
			yield(foundUser{}, adminError(http.StatusBadRequest, errStaleCursor))
		}
	}
}
