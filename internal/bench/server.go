package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// server is a child process that is Caddy.
type server struct {
	config
	child  *exec.Cmd
	cancel context.CancelFunc
	in     io.WriteCloser
	out    *bufio.Scanner
}

// start starts a server with a site for each handler.
func (b *bench) start(ctx context.Context, c config) (*server, error) {
	ports, err := freePorts(len(c.handlers) + 1)
	if err != nil {
		return nil, err
	}
	c.ports = ports[1:]
	if c.admin != "" {
		c.admin = ports[0]
	}
	if err := b.writePage(); err != nil {
		return nil, err
	}
	text, err := b.json(c)
	if err != nil {
		return nil, err
	}
	home, err := os.MkdirTemp(b.dir, "server")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(home, "config.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}

	ctx, cancel := context.WithCancel(ctx)
	s := &server{config: c, child: exec.CommandContext(ctx, program), cancel: cancel}
	s.child.Env = append(os.Environ(), configVariable+"="+file, "XDG_DATA_HOME="+home, "XDG_CONFIG_HOME="+home)
	s.child.Stderr = os.Stderr
	out, err := s.child.StdoutPipe()
	if err == nil {
		s.in, err = s.child.StdinPipe()
	}
	if err == nil {
		err = s.child.Start()
	}
	if err != nil {
		cancel()
		return nil, err
	}
	s.out = bufio.NewScanner(out)
	if !s.out.Scan() || s.out.Text() != "ready" {
		return nil, errors.Join(fmt.Errorf("the server did not start: %q", s.out.Text()), s.stop())
	}
	return s, nil
}

// stop ends the server as a shutdown does, and waits for it: the next one may
// want its folder.
func (s *server) stop() error {
	defer s.cancel()
	defer time.AfterFunc(20*time.Second, s.cancel).Stop()
	return errors.Join(s.in.Close(), s.child.Wait())
}

// command sends a line and returns the answer.
func (s *server) command(line string) (string, error) {
	if _, err := fmt.Fprintln(s.in, line); err != nil {
		return "", err
	}
	if !s.out.Scan() {
		return "", errors.New("the server went away")
	}
	return s.out.Text(), nil
}

// used is the CPU time that the server has used so far, in microseconds.
func (s *server) used() (microseconds int64, err error) {
	answer, err := s.command("cpu")
	if err != nil {
		return 0, err
	}
	_, err = fmt.Sscan(answer, &microseconds)
	return microseconds, err
}

// reload loads the configuration with another version, as `caddy reload` does.
func (s *server) reload(ctx context.Context, text []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://127.0.0.1:"+s.admin+"/load", bytes.NewReader(text))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Close = true // the admin API is replaced with the rest
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		answer, _ := io.ReadAll(response.Body)
		return fmt.Errorf("reloading: %s: %s", response.Status, answer)
	}
	return nil
}

// deviceCookie signs in at a site and returns the third cookie that a browser
// has from then on.
func (s *server) deviceCookie(site int) (string, error) {
	body := strings.NewReader(`{"username":"ac12345","password":"` + ldaptest.DemoPassword + `"}`)
	response, err := http.Post("http://127.0.0.1:"+s.ports[site]+"/api/login-ldap/", "application/json", body)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	for _, cookie := range response.Cookies() {
		if cookie.Name == "ldap_device" && response.StatusCode == http.StatusOK {
			return cookie.Value, nil
		}
	}
	return "", fmt.Errorf("the sign-in answered %s, without a device cookie", response.Status)
}

// cookieHeaders are those of the browsers that have these sessions.
func cookieHeaders(sessions []credentials, device string) []string {
	all := make([]string, len(sessions))
	for i, c := range sessions {
		all[i] = "sessionid=" + c.token.Value() + "; csrftoken=" + c.csrf + "; ldap_device=" + device
	}
	return all
}
