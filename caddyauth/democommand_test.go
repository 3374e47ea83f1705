package caddyauth

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// buildCaddy builds the product's program once for the test run.
var buildCaddy = sync.OnceValues(func() (string, error) {
	// Beside the data folder of TestMain, which is removed at the end.
	program := filepath.Join(filepath.Dir(os.Getenv("XDG_DATA_HOME")), "caddy-under-test")
	output, err := exec.Command("go", "build", "-o", program, "../cmd/caddy").CombinedOutput()
	if err != nil {
		return "", errors.New(err.Error() + "\n" + string(output))
	}
	return program, nil
})

func caddyProgram(t *testing.T) string {
	t.Helper()
	needPrograms(t, "go")
	program, err := buildCaddy()
	if err != nil {
		t.Fatalf("building cmd/caddy: %v", err)
	}
	return program
}

// needPrograms skips where a program of the machine is missing, which make test
// does not allow.
func needPrograms(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			if os.Getenv("CADDY_LDAP_REQUIRE_SERVERS") == "1" {
				t.Fatalf("needs %s: %v", name, err)
			}
			t.Skipf("needs %s: %v", name, err)
		}
	}
}

// demoProcess is a running `caddy ldap-demo`.
type demoProcess struct {
	cmd       *exec.Cmd
	base      string
	temporary string // its TMPDIR
	printed   string // until "The audit log follows"
	stdout    io.Reader
	stderr    bytes.Buffer
}

// startDemo runs the demonstration until the test ends.
func startDemo(t *testing.T, flags ...string) *demoProcess {
	t.Helper()
	d := &demoProcess{temporary: t.TempDir()}
	site, directory := freePort(t), freePort(t)
	d.base = "http://127.0.0.1:" + strconv.Itoa(site)
	d.cmd = exec.Command(caddyProgram(t), append([]string{"ldap-demo",
		"--listen", "127.0.0.1:" + strconv.Itoa(site), "--ldap-listen", "127.0.0.1:" + strconv.Itoa(directory)}, flags...)...)
	d.cmd.Env = append(os.Environ(), "TMPDIR="+d.temporary)
	d.cmd.Stderr = &d.stderr
	pipe, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stuck := time.AfterFunc(60*time.Second, func() { _ = d.cmd.Process.Kill() })
	t.Cleanup(func() {
		stuck.Stop()
		_ = d.cmd.Process.Kill()
		_ = d.cmd.Wait()
	})
	reader := bufio.NewReader(pipe)
	for !strings.Contains(d.printed, "The audit log follows.") {
		line, err := reader.ReadString('\n')
		d.printed += line
		if err != nil {
			_ = d.cmd.Wait()
			t.Fatalf("the demo ended: %v\n%s\n%s", err, d.printed, d.stderr.String())
		}
	}
	d.stdout = reader
	return d
}

// stop sends a signal and returns what the demo printed last.
func (d *demoProcess) stop(t *testing.T, signal os.Signal) string {
	t.Helper()
	if err := d.cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(d.stdout)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Wait(); err != nil {
		t.Fatalf("the demo did not end with 0: %v\n%s", err, d.stderr.String())
	}
	return string(rest)
}

// shell runs a line in bash and returns its output.
func shell(t *testing.T, folder, line string) string {
	t.Helper()
	cmd := exec.Command("bash", "-c", line)
	cmd.Dir = folder
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, stderr.String())
	}
	return string(output)
}

// TestDemoCurlLines runs what the demo prints, as it prints it.
func TestDemoCurlLines(t *testing.T) {
	needPrograms(t, "bash", "curl", "awk")
	d := startDemo(t)
	lines := regexp.MustCompile(`(?m)^  (curl .*)$`).FindAllStringSubmatch(d.printed, -1)
	want := []struct{ status, body string }{
		{"401 Unauthorized", bodyAuthenticationRequired},
		{"200 OK", bodySignedIn},
		{"200 OK", `"usuario":"ac12345"`},
		{"200 OK", `{"status":"ok","usuario":"ac12345","metodo":"POST"}`},
		{"200 OK", bodySignedOut},
		{"401 Unauthorized", bodyAuthenticationRequired},
	}
	if len(lines) != len(want) {
		t.Fatalf("the demo prints %d curl lines, want %d:\n%s", len(lines), len(want), d.printed)
	}
	folder := t.TempDir()
	for i, line := range lines {
		output := shell(t, folder, line[1])
		if !strings.HasPrefix(output, "HTTP/1.1 "+want[i].status+"\r\n") || !strings.Contains(output, want[i].body) {
			t.Errorf("%s\ngot:\n%s\nwant %s and %s", line[1], output, want[i].status, want[i].body)
		}
	}

	if rest := d.stop(t, os.Interrupt); rest != "Stopping.\n" {
		t.Errorf("the demo printed at the end: %q", rest)
	}
	if left, err := os.ReadDir(d.temporary); err != nil || len(left) > 0 {
		t.Errorf("the demo left %v behind, %v", left, err)
	}
	for _, event := range []string{"sign_in", "sign_out"} {
		if !regexp.MustCompile(`ldap_auth\.audit\s+` + event + `\s.*"user": "ac12345"`).MatchString(d.stderr.String()) {
			t.Errorf("the audit log has no %s:\n%s", event, d.stderr.String())
		}
	}
	if strings.Contains(d.stderr.String(), "secreto") {
		t.Error("the demo logged a password")
	}
}

// TestREADMECommands runs what README.md says to type at the demo.
func TestREADMECommands(t *testing.T) {
	needPrograms(t, "bash", "curl", "awk", "python3")
	_, clients, _ := strings.Cut(projectFile(t, "README.md"), "\n## Clients\n")
	block := func(language string) string {
		match := regexp.MustCompile("(?s)```" + language + "\n(.*?)```").FindStringSubmatch(clients)
		if match == nil {
			t.Fatalf("README.md has no %s block under Clients", language)
		}
		return match[1]
	}
	d := startDemo(t)
	ours := strings.NewReplacer("http://127.0.0.1:8080", d.base)

	t.Run("curl", func(t *testing.T) {
		got := shell(t, t.TempDir(), "set -e\n"+ours.Replace(block("sh")))
		want := bodySignedIn + `{"usuario":"ac12345","equipos":[{"id":1,"nombre":"PC-01"},{"id":2,"nombre":"PC-02"}]}` +
			`{"status":"ok","usuario":"ac12345","metodo":"POST"}` + bodySignedOut
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
	t.Run("Python requests", func(t *testing.T) {
		python := "python3"
		if _, err := os.Stat("/usr/bin/python3"); err == nil { // Debian's, which has its packages
			python = "/usr/bin/python3"
		}
		if output, err := exec.Command(python, "-c", "import requests").CombinedOutput(); err != nil {
			if os.Getenv("CADDY_LDAP_REQUIRE_SERVERS") == "1" {
				t.Fatalf("needs python3-requests: %s", output)
			}
			t.Skip("needs python3-requests")
		}
		folder := t.TempDir()
		if err := os.WriteFile(filepath.Join(folder, "client.py"), []byte(ours.Replace(block("python"))), 0o600); err != nil {
			t.Fatal(err)
		}
		got := shell(t, folder, "no_proxy='*' "+python+" client.py")
		want := "{'usuario': 'ac12345', 'equipos': [{'id': 1, 'nombre': 'PC-01'}, {'id': 2, 'nombre': 'PC-02'}]}\n" +
			"{'status': 'ok', 'usuario': 'ac12345', 'metodo': 'POST'}\n"
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
	d.stop(t, syscall.SIGTERM)
}

// TestDemoAccounts signs every account in that the demo prints.
func TestDemoAccounts(t *testing.T) {
	d := startDemo(t)
	_, list, _ := strings.Cut(d.printed, "Accounts,")
	list, _, _ = strings.Cut(list, "\n\n")
	status := map[string]int{"ac12345": 200, "mgarcia": 200, "expirada": 403, "bloqueada": 401, "deshabilitada": 403}
	names := regexp.MustCompile(`(?m)^  (\w+) `).FindAllStringSubmatch(list, -1)
	if len(names) != len(status) {
		t.Fatalf("the demo prints %d accounts, want %d:\n%s", len(names), len(status), d.printed)
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for _, name := range names {
		answer, err := client.Post(d.base+"/api/login-ldap/", "application/json", strings.NewReader(credentialsJSON(name[1], "secreto")))
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != status[name[1]] {
			t.Errorf("%s: %d, want %d", name[1], answer.StatusCode, status[name[1]])
		}
	}
	d.stop(t, os.Interrupt)
}

func TestDemoRefusesAddresses(t *testing.T) {
	program := caddyProgram(t)
	for _, row := range []struct {
		name  string
		flags []string
		want  string
	}{
		{"every address", []string{"--listen", "0.0.0.0:8080"}, "add --insecure"},
		{"every address by an empty host", []string{"--listen", ":8080"}, "add --insecure"},
		{"every IPv6 address", []string{"--listen", "[::]:8080"}, "add --insecure"},
		{"another address", []string{"--listen", "192.0.2.1:8080"}, "add --insecure"},
		{"a name", []string{"--listen", "demo.example:8080"}, "add --insecure"},
		{"every address for the directory", []string{"--ldap-listen", "0.0.0.0:3890"}, "--ldap-listen"},
		{"no port", []string{"--listen", "127.0.0.1"}, "--listen"},
		{"port 0", []string{"--listen", "127.0.0.1:0"}, "port"},
		{"a port that is none", []string{"--ldap-listen", "127.0.0.1:ldap"}, "port"},
		{"an unknown flag", []string{"--port", "8080"}, "--port"},
	} {
		t.Run(row.name, func(t *testing.T) {
			temporary := t.TempDir()
			cmd := exec.Command(program, append([]string{"ldap-demo"}, row.flags...)...)
			cmd.Env = append(os.Environ(), "TMPDIR="+temporary)
			stuck := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
			defer stuck.Stop()
			output, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() == 0 {
				t.Fatalf("got %v\n%s", err, output)
			}
			if !strings.Contains(string(output), row.want) {
				t.Errorf("the error does not have %q:\n%s", row.want, output)
			}
			if left, _ := os.ReadDir(temporary); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// TestDemoOnATakenPort ends with an error that says so, and cleans up.
func TestDemoOnATakenPort(t *testing.T) {
	d := startDemo(t)
	temporary := t.TempDir()
	for flag, other := range map[string]string{"--listen": "--ldap-listen", "--ldap-listen": "--listen"} {
		taken := strings.TrimPrefix(d.base, "http://")
		cmd := exec.Command(caddyProgram(t), "ldap-demo", flag, taken, other, "127.0.0.1:"+strconv.Itoa(freePort(t)))
		cmd.Env = append(os.Environ(), "TMPDIR="+temporary)
		stuck := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		output, err := cmd.CombinedOutput()
		stuck.Stop()
		if err == nil || !strings.Contains(string(output), "address already in use") {
			t.Errorf("%s: %v\n%s", flag, err, output)
		}
	}
	if left, _ := os.ReadDir(temporary); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	d.stop(t, os.Interrupt)
}

// TestDemoPrintsWhatItRuns compares --print-caddyfile with what the demo loads,
// but for the folder of the sessions, which it makes when it starts.
func TestDemoPrintsWhatItRuns(t *testing.T) {
	for name, flags := range map[string][]string{
		"loopback": {"--listen", "127.0.0.1:18080", "--ldap-listen", "127.0.0.1:13890"},
		"IPv6":     {"--listen", "[::1]:18080", "--ldap-listen", "[::1]:13890"},
		"insecure": {"--listen", "0.0.0.0:18080", "--ldap-listen", "0.0.0.0:13890", "--insecure"},
	} {
		t.Run(name, func(t *testing.T) {
			printed, err := exec.Command(caddyProgram(t), append([]string{"ldap-demo", "--print-caddyfile"}, flags...)...).Output()
			if err != nil {
				t.Fatal(err)
			}
			got, err := adapt(string(printed))
			if err != nil {
				t.Fatalf("adapting:\n%s\n%v", printed, err)
			}
			if err := validate(t, got); err != nil {
				t.Fatal(err)
			}
			d := demo{Host: "127.0.0.1", Port: "18080", Directory: "ldap://127.0.0.1:13890", Folder: "/tmp/ldap_auth_demo"}
			switch name {
			case "IPv6":
				d.Host, d.Directory = "::1", "ldap://[::1]:13890"
			case "insecure":
				d.Host, d.Insecure = "0.0.0.0", true
			}
			text, err := d.caddyfile()
			if err != nil {
				t.Fatal(err)
			}
			if string(printed) != string(text) {
				t.Errorf("printed:\n%s\nruns:\n%s", printed, text)
			}
			if strings.Contains(string(text), "insecure_http") != d.Insecure {
				t.Errorf("insecure_http without --insecure, or the other way round:\n%s", text)
			}
		})
	}
}
