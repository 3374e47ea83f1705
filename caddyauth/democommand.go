package caddyauth

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"text/template"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "ldap-demo",
		Usage: "[--listen <address>] [--ldap-listen <address>] [--insecure] [--print-caddyfile]",
		Short: "Starts a demo site behind a sign-in, with a directory of its own",
		Long: `
Starts a directory that behaves like Active Directory and a small site behind
the sign-in, prints the accounts and some curl lines, and ends with Ctrl-C.
Nothing is kept: sessions live in a temporary folder. The admin endpoint is off.

Passwords of the demo are public, so both addresses must be loopback ones
unless --insecure is given.`,
		CobraFunc: func(cmd *cobra.Command) {
			cmd.Flags().String("listen", "127.0.0.1:8080", "address of the site")
			cmd.Flags().String("ldap-listen", "127.0.0.1:3890", "address of the directory")
			cmd.Flags().Bool("insecure", false, "allow addresses that other machines can reach")
			cmd.Flags().Bool("print-caddyfile", false, "print the configuration instead of running it")
			cmd.Args = cobra.NoArgs
			cmd.RunE = caddycmd.WrapCommandFuncForCobra(runDemo)
		},
	})
}

//go:embed demo.caddyfile
var demoCaddyfile string

// demo is what the demo's Caddyfile depends on.
type demo struct {
	Host, Port string // of the site
	Directory  string // URL
	Folder     string // of the sessions
	Insecure   bool
}

func (d demo) caddyfile() ([]byte, error) {
	tmpl, err := template.New("demo").Parse(demoCaddyfile)
	if err != nil {
		return nil, fmt.Errorf("parsing the demo's Caddyfile: %w", err)
	}
	var text bytes.Buffer
	if err := tmpl.Execute(&text, d); err != nil {
		return nil, fmt.Errorf("writing the demo's Caddyfile: %w", err)
	}
	return text.Bytes(), nil
}

func runDemo(flags caddycmd.Flags) (int, error) {
	if err := serveDemo(flags); err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	return caddy.ExitCodeSuccess, nil
}

// serveDemo runs until it is interrupted.
func serveDemo(flags caddycmd.Flags) (err error) {
	insecure := flags.Bool("insecure")
	host, port, err := demoAddress("listen", flags.String("listen"), insecure)
	if err != nil {
		return err
	}
	ldapHost, ldapPort, err := demoAddress("ldap-listen", flags.String("ldap-listen"), insecure)
	if err != nil {
		return err
	}
	d := demo{
		Host: host, Port: port, Insecure: insecure,
		Directory: "ldap://" + net.JoinHostPort(dialHost(ldapHost), ldapPort),
	}
	if flags.Bool("print-caddyfile") {
		d.Folder = "/tmp/ldap_auth_demo"
		text, err := d.caddyfile()
		if err != nil {
			return err
		}
		_, err = os.Stdout.Write(text)
		return err
	}

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(stop)

	if err := portIsFree(net.JoinHostPort(host, port)); err != nil {
		return fmt.Errorf("starting the demo site on --listen %s: %w", flags.String("listen"), err)
	}
	directory, err := ldaptest.Start(net.JoinHostPort(ldapHost, ldapPort), ldaptest.Demo())
	if err != nil {
		return fmt.Errorf("starting the demo directory on --ldap-listen %s: %w", flags.String("ldap-listen"), err)
	}
	defer func() { err = errors.Join(err, directory.Close()) }()
	if d.Folder, err = os.MkdirTemp("", "ldap_auth_demo"); err != nil {
		return fmt.Errorf("making a folder for the demo's sessions: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(d.Folder)) }()

	if err := d.load(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, caddy.Stop()) }()
	printDemo(os.Stdout, "http://"+net.JoinHostPort(dialHost(host), port), d.Directory)
	<-stop
	fmt.Println("Stopping.")
	return nil
}

func (d demo) load() error {
	text, err := d.caddyfile()
	if err != nil {
		return err
	}
	adapter := caddyconfig.GetAdapter("caddyfile")
	if adapter == nil {
		return errors.New("this Caddy is built without the Caddyfile adapter")
	}
	config, _, err := adapter.Adapt(text, map[string]any{"filename": "demo.caddyfile"})
	if err != nil {
		return fmt.Errorf("adapting the demo's Caddyfile: %w", err)
	}
	if err := caddy.Load(config, true); err != nil {
		return fmt.Errorf("starting the demo: %w", err)
	}
	return nil
}

// demoAddress splits an address. Everybody knows the demo's passwords, so only
// this machine may reach it, unless that is insisted on.
func demoAddress(flag, address string, insecure bool) (host, port string, err error) {
	host, port, err = net.SplitHostPort(address)
	if err != nil {
		return "", "", fmt.Errorf("--%s: reading %q: %w", flag, address, err)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", "", fmt.Errorf("--%s: %q needs a port between 1 and 65535", flag, address)
	}
	addr, err := netip.ParseAddr(host)
	loopback := host == "localhost" || err == nil && addr.Unmap().IsLoopback()
	if !loopback && !insecure {
		return "", "", fmt.Errorf("--%s: %q can be reached by other machines, and the demo's passwords are public: use a loopback address, or add --insecure", flag, address)
	}
	if host == "" {
		host = "0.0.0.0"
	}
	return host, port, nil
}

// portIsFree refuses an address that another program listens on. Caddys share
// their ports (SO_REUSEPORT): beside another one the demo would start all the
// same, and take requests of that one's users, their passwords among them.
func portIsFree(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	return listener.Close()
}

// dialHost is where a server that listens on host can be reached from here.
func dialHost(host string) string {
	if addr, err := netip.ParseAddr(host); err == nil && addr.IsUnspecified() {
		if addr.Is4() {
			return "127.0.0.1"
		}
		return "::1"
	}
	return host
}

func printDemo(w io.Writer, site, directory string) {
	_, _ = fmt.Fprintf(w, `
Site:       %[1]s
Directory:  %[2]s  (behaves like Active Directory, domain empresa.local)

Accounts, all with the password "secreto":
  ac12345        Juan Pérez, in Ingenieria, which is in Empleados
  mgarcia        María García, in IT Admins
  expirada       her password has expired
  bloqueada      her account is locked
  deshabilitada  her account is disabled

Try it in a browser, or with curl:
  curl -i %[1]s/api/equipos/
  curl -i -c jar -H 'Content-Type: application/json' -d '{"username":"ac12345","password":"secreto"}' %[1]s/api/login-ldap/
  curl -i -b jar -c jar %[1]s/api/equipos/
  curl -i -b jar -c jar -X POST -H "X-CSRFToken: $(awk '$6 == "csrftoken" {print $7}' jar)" %[1]s/operaciones/api/ptes/
  curl -i -b jar -c jar %[1]s/api/logout/
  curl -i -b jar %[1]s/api/equipos/

Ctrl-C ends it. The audit log follows.
`, site, directory)
}
