package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// config is the configuration of a server.
type config struct {
	admin    string   // the port of the admin API; "": off
	sessions string   // their folder
	redis    string   // instead: the address of the server that has them; both "": without the plugin
	handlers []string // a site for each, in front of the files
	ports    []string // of the sites
	version  int      // of a configuration that is reloaded, for its sites to tell
}

const (
	protected   = "require_session" // the handler that is measured
	redisPrefix = "bench"           // of all keys in Redis
)

// json returns the configuration as Caddy takes it. Adapting is the command
// line's work in a reload, not the server's.
func (b *bench) json(c config) ([]byte, error) {
	var text strings.Builder
	admin := "off"
	if c.admin != "" {
		admin = "127.0.0.1:" + c.admin
	}
	_, _ = fmt.Fprintf(&text, "{\n\tadmin %s\n\tpersist_config off\n\tskip_install_trust\n\tlog {\n\t\tlevel ERROR\n\t}\n", admin)
	storage := ""
	switch {
	case c.sessions != "":
		storage = "badger " + c.sessions
	case c.redis != "":
		storage = "redis " + c.redis + " {\n\t\t\t\tprefix " + redisPrefix + "\n\t\t\t}"
	}
	if storage != "" {
		_, _ = fmt.Fprintf(&text, "\tldap_auth {\n\t\tdirectory %s ad {\n\t\t\tservers %s\n\t\t}\n\t\tsessions {\n\t\t\tstorage %s\n\t\t}\n\t}\n",
			label, b.directory.URL(), storage)
	}
	text.WriteString("}\n")
	for i, handler := range c.handlers {
		if c.version > 0 {
			handler += fmt.Sprintf("\n\theader X-Version %d", c.version)
		}
		_, _ = fmt.Fprintf(&text, "http://:%s {\n\tbind 127.0.0.1\n\t%s\n\troot * %s\n\tfile_server\n}\n", c.ports[i], handler, b.files())
	}
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text.String()), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return nil, fmt.Errorf("adapting the configuration: %w", err)
	}
	return adapted, nil
}

// files is the folder of the file that all requests are for.
func (b *bench) files() string { return filepath.Join(b.dir, "files") }

const page = "/page.html"

func (b *bench) writePage() error {
	if err := os.MkdirAll(b.files(), 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.files(), page), bytes.Repeat([]byte("Hola. "), 170), 0o600)
}

// freePorts returns ports that were free a moment ago.
func freePorts(count int) ([]string, error) {
	var ports []string
	for range count {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		// Held until all are chosen, so that they differ.
		defer func() { _ = listener.Close() }()
		_, port, err := net.SplitHostPort(listener.Addr().String())
		if err != nil {
			return nil, err
		}
		ports = append(ports, port)
	}
	return ports, nil
}
