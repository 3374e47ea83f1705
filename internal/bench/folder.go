package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyauth/caddy-ldap/sessionstore"
	"github.com/caddyauth/caddy-ldap/sessionstore/badgerstore"
)

const (
	// label is the directory of all sessions, as the servers configure it.
	label = "empresa.local"

	// sessionsPerUser is a browser at work, one at home, a telephone and one
	// that was forgotten.
	sessionsPerUser = 4

	// fillers create sessions at once while the folder is filled.
	fillers = 64
)

var limits = sessionstore.Limits{Idle: time.Hour, Absolute: 12 * time.Hour}

// folder is the session folder that all parts measure with.
type folder struct {
	path   string
	active []credentials // of the sessions in use
}

// credentials are what a signed-in browser has of its session.
type credentials struct {
	token sessionstore.Token
	csrf  string
}

func openFolder(path string) (*badgerstore.Store, error) {
	return badgerstore.Open(path, badgerstore.Options{}, slog.New(slog.DiscardHandler))
}

// fill stores so many sessions in the folder at path, and keeps the tokens of as
// many as are to be in use.
func (b *bench) fill(ctx context.Context, path string, sessions int) (f *folder, took time.Duration, err error) {
	store, err := openFolder(path)
	if err != nil {
		return nil, 0, err
	}
	began := time.Now()
	active, err := b.fillStores(ctx, filling{sessions: sessions, perUser: sessionsPerUser, kept: b.active}, store)
	took = time.Since(began)
	if err := errors.Join(err, store.Close()); err != nil {
		return nil, 0, fmt.Errorf("filling folder %q: %w", path, err)
	}
	return &folder{path: path, active: active}, took, nil
}

// filling is what a store is filled with.
type filling struct{ sessions, perUser, kept int }

// fillStores stores the same sessions in each of the stores, and returns the
// credentials of as many as are kept, spread among all.
func (b *bench) fillStores(ctx context.Context, f filling, stores ...sessionstore.Store) (kept []credentials, err error) {
	kept = make([]credentials, f.kept)
	var created atomic.Int64
	err = atOnce(fillers, func(worker int) error {
		for i := worker; i < f.sessions; i += fillers {
			token, session := sessionstore.NewToken(), newSession(i/f.perUser)
			for _, store := range stores {
				if err := store.Create(ctx, token.Key(), session, nil); err != nil {
					return err
				}
			}
			if n := int(created.Add(1)); n%max(f.sessions/10, 1) == 0 {
				b.log.Printf("storing: %s of %s sessions", thousands(n), thousands(f.sessions))
			}
			// The one that is kept of each so many.
			if n := i * f.kept / f.sessions; (i+1)*f.kept/f.sessions > n {
				kept[n] = credentials{token, session.CSRF}
			}
		}
		return nil
	})
	return kept, err
}

// newSession is the session of a user of Active Directory in 20 groups, as a
// sign-in makes it.
func newSession(user int) *sessionstore.Session {
	username := fmt.Sprintf("mgarcia%06d", user)
	session := &sessionstore.Session{
		ID:       strings.ToLower(rand.Text()[:16]),
		CSRF:     sessionstore.NewCSRF(),
		Created:  time.Now().Round(0).UTC(),
		Limits:   limits,
		ClientIP: fmt.Sprintf("10.%d.%d.%d", byte(user>>16), byte(user>>8), byte(user)),
		User: sessionstore.User{
			Directory: label, ID: userID(user),
			Username: username, DN: fmt.Sprintf("CN=María García %06d,OU=Usuarios,OU=Madrid,DC=empresa,DC=local", user),
			FirstName: "María", LastName: fmt.Sprintf("García %06d", user), DisplayName: fmt.Sprintf("María García %06d", user),
			Email: username + "@empresa.local", UPN: username + "@empresa.local",
			Title: "Ingeniera", Manager: "CN=Juan Pérez,OU=Usuarios,OU=Madrid,DC=empresa,DC=local",
			PasswordSet: fmt.Sprint(134082011230000000 + int64(user)*10_000_000),
			Groups:      []sessionstore.Group{{ID: "S-1-5-32-545"}, {ID: domainSID + "-513"}},
		},
	}
	for i := range 18 {
		session.User.Groups = append(session.User.Groups, sessionstore.Group{ID: fmt.Sprintf("%s-%d", domainSID, 1100+61*i+user%61)})
	}
	// As sign-ins store them.
	slices.SortFunc(session.User.Groups, func(a, b sessionstore.Group) int { return strings.Compare(a.ID, b.ID) })
	return session
}

const domainSID = "S-1-5-21-1004336348-1177238915-682003330"

// userID is an objectGUID.
func userID(user int) string {
	n := uint64(user) * 0x9e3779b97f4a7c15 // of no order
	return fmt.Sprintf("%08x-%04x-4000-8000-%012x", n>>32, n>>16&0xffff, n&0xffffffffffff)
}

// disk reports what the sessions take at rest, once the folder is closed.
func (b *bench) disk(context.Context) error {
	apparent, allocated, err := usage(b.folder.path)
	if err != nil {
		return err
	}
	each := func(bytes int64) float64 { return float64(bytes) / float64(b.sessions) }
	b.report.quantity(fmt.Sprintf("%.0f B", each(allocated)), "of 700 B", "disk at rest a session of a user with 20 groups",
		"allocated, with the users' records, one for %d sessions; apparent %.0f B; %s MB in all", sessionsPerUser, each(apparent), thousands(int(allocated>>20)))
	return nil
}

// usage adds up the files of a folder. Badger's logs are sparse: what they seem
// to take is not what they take.
func usage(path string) (apparent, allocated int64, err error) {
	files, err := filepath.Glob(filepath.Join(path, "*"))
	if err != nil {
		return 0, 0, err
	}
	for _, name := range files {
		size, blocks, err := fileSize(name)
		if err != nil {
			return 0, 0, err
		}
		apparent += size
		allocated += blocks
	}
	return apparent, allocated, nil
}

// atOnce runs n workers, and returns what went wrong.
func atOnce(n int, work func(worker int) error) error {
	var wait sync.WaitGroup
	failed := make(chan error, n)
	for worker := range n {
		wait.Go(func() {
			if err := work(worker); err != nil {
				failed <- err
			}
		})
	}
	wait.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

func perSecond(n int, took time.Duration) string {
	return thousands(int(float64(n)/took.Seconds())) + "/s"
}
