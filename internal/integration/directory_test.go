package integration

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/ldap"
)

// directory is the client under test, with the rule that no password it was
// given may show up in what it logs or answers.
type directory struct {
	*ldap.Directory

	mu      sync.Mutex
	secrets []string
}

// open makes a client from config, closed when the test ends.
func open(t *testing.T, config ldap.Config) *directory {
	t.Helper()
	d := &directory{}
	if config.BindPassword != "" {
		d.secrets = append(d.secrets, config.BindPassword)
	}
	var logged lockedBuffer
	config.Logger = slog.New(slog.NewTextHandler(io.MultiWriter(&logged, t.Output()),
		&slog.HandlerOptions{Level: slog.LevelDebug}))
	client, err := ldap.New(config)
	if err != nil {
		t.Fatalf("making the directory: %v", err)
	}
	d.Directory = client
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Errorf("closing the directory: %v", err)
		}
		for _, secret := range d.secrets {
			if strings.Contains(logged.String(), secret) {
				t.Errorf("the log has the password %q", secret)
			}
		}
	})
	return d
}

// signIn signs in and checks what holds for every answer.
func (d *directory) signIn(t *testing.T, username, password string) (*ldap.Identity, error) {
	t.Helper()
	// Shorter ones ("wrong") are words that a log may have for other reasons.
	if len(password) > 8 {
		d.mu.Lock()
		d.secrets = append(d.secrets, password)
		d.mu.Unlock()
	}
	identity, err := d.SignIn(context.Background(), username, password)
	var (
		refused     *ldap.RefusedError
		unavailable *ldap.UnavailableError
	)
	switch {
	case err == nil && identity == nil:
		t.Fatalf("signing in as %q: neither an identity nor an error", username)
	case err != nil && identity != nil:
		t.Fatalf("signing in as %q: an identity besides the error %v", username, err)
	case err != nil && !errors.As(err, &refused) && !errors.As(err, &unavailable):
		t.Fatalf("signing in as %q: error %v is neither refused nor unavailable", username, err)
	}
	if err != nil && len(password) > 8 && strings.Contains(err.Error(), password) {
		t.Errorf("signing in as %q: the error has the password: %v", username, err)
	}
	return identity, err
}

// expectIdentity signs in and fails the test if that is refused.
func (d *directory) expectIdentity(t *testing.T, username, password string) *ldap.Identity {
	t.Helper()
	identity, err := d.signIn(t, username, password)
	if err != nil {
		t.Fatalf("signing in as %q: %v", username, err)
	}
	return identity
}

// expectBack signs in as soon as the server that was down is found to be back.
func (d *directory) expectBack(t *testing.T, username, password string) *ldap.Identity {
	t.Helper()
	for start := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		identity, err := d.signIn(t, username, password)
		var unavailable *ldap.UnavailableError
		if errors.As(err, &unavailable) && time.Since(start) < backWithin {
			continue
		}
		if err != nil {
			t.Fatalf("signing in as %q: %v", username, err)
		}
		return identity
	}
}

func (d *directory) expectRefused(t *testing.T, username, password string, want ldap.Reason) {
	t.Helper()
	_, err := d.signIn(t, username, password)
	var refused *ldap.RefusedError
	if !errors.As(err, &refused) || refused.Reason != want {
		t.Errorf("signing in as %q: %v; want it refused with %q", username, err, want)
	}
}

func (d *directory) expectUnavailable(t *testing.T, username, password string, want ldap.Reason) *ldap.UnavailableError {
	t.Helper()
	_, err := d.signIn(t, username, password)
	var unavailable *ldap.UnavailableError
	if !errors.As(err, &unavailable) || unavailable.Reason != want {
		t.Fatalf("signing in as %q: %v; want it unavailable with %q", username, err, want)
	}
	return unavailable
}

// adConfig is the shortest configuration for the domain: no service account.
func adConfig(dc *realserver.Samba) ldap.Config {
	return ldap.Config{Label: dc.Domain, Servers: []string{dc.URL}, RootCAs: dc.CA.Pool()}
}

// adServiceConfig is adConfig with the service account.
func adServiceConfig(dc *realserver.Samba) ldap.Config {
	config := adConfig(dc)
	config.BindUser, config.BindPassword = dc.Service.UPN, dc.Service.Password
	return config
}

// ds389Config is the shortest configuration for 389 Directory Server.
func ds389Config(s *realserver.DS389) ldap.Config {
	return ldap.Config{
		Label: "fabrica.test", Servers: []string{s.URL}, RootCAs: s.CA.Pool(),
		BindUser: s.Service.DN, BindPassword: s.Service.Password,
	}
}

// openldapConfig is the shortest configuration for slapd.
func openldapConfig(s *realserver.Slapd) ldap.Config {
	return ldap.Config{
		Label: "empresa.test", Servers: []string{s.URL}, RootCAs: s.CA.Pool(),
		BindUser: s.Service.DN, BindPassword: s.Service.Password,
	}
}

// expectPerson compares an identity with the account as it was put into the
// directory.
func expectPerson(t *testing.T, got *ldap.Identity, label string, want realserver.Account) {
	t.Helper()
	fields := []struct{ name, got, want string }{
		{"Directory", got.Directory, label},
		{"Username", got.Username, want.Username},
		{"FirstName", got.FirstName, want.FirstName},
		{"LastName", got.LastName, want.LastName},
		{"DisplayName", got.DisplayName, want.Name},
		{"Email", got.Email, want.Email},
		{"UPN", got.UPN, want.UPN},
		{"Title", got.Title, want.Title},
	}
	for _, field := range fields {
		if field.got != field.want {
			t.Errorf("%s = %q, want %q", field.name, field.got, field.want)
		}
	}
	expectSameDN(t, "DN", got.DN, want.DN)
	expectSameDN(t, "Manager", got.Manager, want.Manager)
	if got.ID == "" {
		t.Error("ID is empty")
	}
}

func expectSameDN(t *testing.T, field, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	a, errA := ldap.NormalizeDN(got)
	b, errB := ldap.NormalizeDN(want)
	if errA != nil || errB != nil || a != b {
		t.Errorf("%s = %q, want %q", field, got, want)
	}
}

func hasGroup(identity *ldap.Identity, id string) bool {
	for _, group := range identity.Groups {
		if group.ID == id {
			return true
		}
	}
	return false
}

// lockedBuffer is written by background work of the client.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
