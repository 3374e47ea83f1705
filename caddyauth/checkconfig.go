package caddyauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddyauth/caddy-ldap/ldap"
)

// preparedCheck is what ldap-check needs of a configuration.
type preparedCheck struct {
	directory *ldap.Directory
	label     string
	hints     loginHints
	password  func() string // nil: none was given

	// hidden are the passwords. Errors of adapters repeat what they stumbled
	// over, which may be half of a password that was not quoted.
	hidden ldap.Redaction
}

// curedError is an error with its own advice.
type curedError struct {
	error
	cure string
}

func (e *curedError) Unwrap() error { return e.error }

func (p *preparedCheck) close() { _ = p.directory.Close() }

// prepareCheck reads the configuration, chooses the directory and opens it. What
// it returns hides passwords even with an error.
func prepareCheck(ctx context.Context, options checkOptions, in io.Reader, step *ldap.CheckStep) (*preparedCheck, error) {
	prepared := &preparedCheck{}
	if err := prepared.readPassword(options, in); err != nil {
		return prepared, err
	}
	config, file, err := prepared.load(options)
	if err != nil {
		return prepared, err
	}
	app, refs, err := prepared.parse(config)
	if err != nil {
		return prepared, err
	}
	chosen, how, err := chooseForCheck(ctx, app.Directories, options, step)
	if err != nil {
		return prepared, err
	}
	if prepared.hints, err = chosen.hints(); err != nil {
		return prepared, err
	}
	prepared.label = chosen.Label
	if prepared.directory, err = openForCheck(chosen); err != nil {
		return prepared, err
	}
	for _, ref := range refs {
		if err := prepared.directory.UseGroup(ref); err != nil {
			prepared.close()
			return prepared, err // it names the group
		}
	}
	kind := chosen.Kind
	if kind == "" {
		kind = "kind found out"
	}
	step.Detail = fmt.Sprintf("%s: directory %q (%s, %s), %d groups named", file, chosen.Label, kind, how, len(refs))
	return prepared, nil
}

func (p *preparedCheck) hide(secrets []string) {
	for _, secret := range secrets {
		p.hidden.Hide(secret)
	}
}

func (p *preparedCheck) readPassword(options checkOptions, in io.Reader) error {
	if !options.passwordStdin {
		return nil
	}
	switch {
	case options.user == "":
		return &curedError{errors.New("--password-stdin: there is no --user whose password it is"), "add --user"}
	case options.config == "-":
		return &curedError{errors.New("--password-stdin: standard input is the configuration already (--config -)"), "give the configuration as a file"}
	}
	password, err := readPasswordLine(in)
	if err != nil {
		return err
	}
	p.hidden.Hide(password)
	p.password = func() string { return password }
	return nil
}

// load reads and adapts the configuration, as Caddy would.
func (p *preparedCheck) load(options checkOptions) (config []byte, file string, err error) {
	if file = options.config; file == "" {
		if _, err := os.Stat("Caddyfile"); err != nil {
			return nil, "", &curedError{errors.New("there is no Caddyfile in this folder"), "name the configuration with --config"}
		}
		file = "Caddyfile"
	}
	if file != "-" {
		if text, err := os.ReadFile(file); err == nil {
			p.hide(bindSecrets(string(text)))
		}
	}
	if config, _, _, err = caddycmd.LoadConfig(file, options.adapter); err != nil {
		return nil, "", err
	}
	return caddy.RemoveMetaFields(config), file, nil
}

var environmentVariable = regexp.MustCompile(`\{\$([^}:]+)(?::([^}]*))?\}`)

// bindSecrets are the words of a Caddyfile that may be the passwords of service
// accounts, or pieces of them.
func bindSecrets(text string) []string {
	var secrets []string
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 3 || words[0] != "bind" {
			continue
		}
		for _, word := range words[2:] {
			for _, variable := range environmentVariable.FindAllStringSubmatch(word, -1) {
				value := os.Getenv(variable[1])
				secrets = append(append(secrets, value, variable[2]), strings.Fields(value)...)
			}
			if word = strings.Trim(word, "\"`"); !strings.ContainsAny(word, "{}") {
				secrets = append(secrets, word)
			}
		}
	}
	return secrets
}

// parse finds the app, checks the directories as a start would, and collects the
// groups that the configuration names.
func (p *preparedCheck) parse(config []byte) (*App, []string, error) {
	var root struct {
		Apps map[string]json.RawMessage `json:"apps"`
	}
	if err := json.Unmarshal(config, &root); err != nil {
		return nil, nil, fmt.Errorf("reading the configuration: %w", err)
	}
	raw, ok := root.Apps["ldap_auth"]
	if !ok {
		return nil, nil, &curedError{errors.New("the configuration has no ldap_auth global option"), "put ldap_auth into the global options block at the top of the Caddyfile"}
	}
	app := new(App)
	if err := caddy.StrictUnmarshalJSON(raw, app); err != nil {
		return nil, nil, fmt.Errorf("ldap_auth: %w", err)
	}
	for _, d := range app.Directories {
		if d != nil {
			p.hide(secretsOf(d))
		}
	}
	if len(app.Directories) == 0 {
		return nil, nil, errors.New("ldap_auth: directory: name the directory that proves who people are")
	}
	labels := make(map[string]bool)
	for _, d := range app.Directories {
		if d == nil {
			return nil, nil, errors.New("ldap_auth: directory: it is null")
		}
		if folded := strings.ToLower(d.Label); labels[folded] {
			return nil, nil, fmt.Errorf("ldap_auth: directory %s: there are two of this label", d.Label)
		} else {
			labels[folded] = true
		}
		checked, err := d.configure()
		if err != nil {
			return nil, nil, fmt.Errorf("ldap_auth: %w", err)
		}
		if _, err := directories.Delete(checked.key); err != nil {
			return nil, nil, err
		}
	}
	refs, err := groupsOf(root.Apps)
	return app, refs, err
}

// secretsOf are the secrets that a directory's options may hold in the open.
func secretsOf(d *Directory) []string {
	var secrets []string
	if !strings.ContainsAny(d.BindPassword, "{}") {
		secrets = append(secrets, d.BindPassword)
	}
	for _, address := range append(slices.Clone(d.Servers), d.PasswordURL) {
		at := strings.LastIndexByte(address, '@')
		if at < 0 {
			continue
		}
		userinfo := address[:at]
		if i := strings.Index(userinfo, "://"); i >= 0 {
			userinfo = userinfo[i+len("://"):]
		}
		_, password, _ := strings.Cut(userinfo, ":")
		secrets = append(secrets, userinfo, password)
	}
	return secrets
}

// groupsOf finds the groups that handlers and matchers name, wherever they
// stand in a configuration.
func groupsOf(apps map[string]json.RawMessage) ([]string, error) {
	var refs []string
	take := func(found any) error {
		list, _ := found.([]any)
		names := make([]string, 0, len(list))
		for _, name := range list {
			if text, ok := name.(string); ok {
				names = append(names, text)
			}
		}
		line, err := compileGroupLine(names)
		for _, ref := range line {
			if !slices.Contains(refs, ref) {
				refs = append(refs, ref)
			}
		}
		return err
	}
	var walk func(node any) error
	walk = func(node any) error {
		switch v := node.(type) {
		case []any:
			for _, child := range v {
				if err := walk(child); err != nil {
					return err
				}
			}
		case map[string]any:
			if v["handler"] == "require_session" {
				lines := []any{v["groups"], v["forward_groups"]}
				paths, _ := v["require"].([]any)
				for _, path := range paths {
					if requirement, ok := path.(map[string]any); ok {
						lines = append(lines, requirement["groups"])
					}
				}
				for _, line := range lines {
					if err := take(line); err != nil {
						return fmt.Errorf("require_session: %w", err)
					}
				}
			}
			if matcher, ok := v["session_group"].(map[string]any); ok {
				if err := take(matcher["groups"]); err != nil {
					return fmt.Errorf("session_group: %w", err)
				}
			}
			for _, child := range v {
				if err := walk(child); err != nil {
					return err
				}
			}
		}
		return nil
	}
	for name, raw := range apps {
		if name == "ldap_auth" {
			continue
		}
		var node any
		if err := json.Unmarshal(raw, &node); err != nil {
			return nil, fmt.Errorf("reading the app %s: %w", name, err)
		}
		if err := walk(node); err != nil {
			return nil, err
		}
	}
	slices.Sort(refs)
	if len(refs) > maxGroups {
		return nil, fmt.Errorf("the configuration names %d groups, at most %d are possible", len(refs), maxGroups)
	}
	return refs, nil
}
