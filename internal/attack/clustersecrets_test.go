package attack

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddyauth/caddy-ldap/internal/realserver"
	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

// Passwords of the Redis: the node's, and that of whoever looks on.
const (
	clusterPassword  = "Clau-del-Magatzem-31"
	clusterOnlookers = "Clau-de-qui-mira-77"
)

// clusterRights is the line of the documentation that gives a Redis user what is
// needed.
func clusterRights(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "cluster.md"))
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^user caddy on >… (.*)$`).FindSubmatch(page)
	if line == nil {
		t.Fatal("docs/cluster.md has no rights of a user")
	}
	return "user caddy on >" + clusterPassword + " " + string(line[1])
}

// monitor collects every command that reaches a Redis from now on, its arguments
// as they were sent.
type monitor struct {
	mu   sync.Mutex
	text strings.Builder
}

func (m *monitor) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.text.String()
}

// quoted are the arguments of a line of MONITOR.
var quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

func monitorRedis(t *testing.T, address string) *monitor {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	m := &monitor{}
	read := make(chan struct{})
	t.Cleanup(func() {
		_ = conn.Close()
		<-read
	})
	in := bufio.NewReader(conn)
	if _, err := fmt.Fprintf(conn, "AUTH %s\r\nMONITOR\r\n", clusterOnlookers); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if line, err := in.ReadString('\n'); err != nil || line != "+OK\r\n" {
			t.Fatalf("asking for all commands: %q, %v", line, err)
		}
	}
	go func() {
		defer close(read)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			m.mu.Lock()
			m.text.WriteString(line)
			for _, argument := range quoted.FindAllString(line, -1) {
				if plain, err := strconv.Unquote(argument); err == nil {
					m.text.WriteString(plain + "\n")
				}
			}
			m.mu.Unlock()
		}
	}()
	return m
}

// Whoever reads Redis, listens to what it is told, or has its files, gets no
// cookie and no password: there are hashes of tokens. And its own password is in
// nothing that Caddy says. What is there are the CSRF tokens, worth nothing
// without the other cookie, and the secret behind the device cookies.
func TestP50RedisHasNoTokens(t *testing.T) {
	t.Parallel()
	redis := realserver.NewRedis(t, realserver.RedisOptions{Config: []string{
		"appendfsync always", "user default on >" + clusterOnlookers + " ~* &* +@all", clusterRights(t),
	}})
	const password = ldaptest.DemoPassword + "-larga"
	dir := directoryWithService(ldaptest.Demo())
	dir.Users[0].Password = password
	block := "servers DIRECTORY\nbind svc@empresa.local {file." + configFile(t, "bind", directoryServicePassword, 0o600) + "}"
	cl := clusterOn(t, redis, setup{directory: dir, block: block, global: "metrics"}, rueidis.ClientOption{Password: clusterOnlookers})
	cl.storage = "username caddy\npassword {file." + configFile(t, "redis", clusterPassword, 0o600) + "}"
	commands := monitorRedis(t, redis.Addr)
	nodes := cl.two(t)

	const wrong, typo = "Equivocada-44-clave", "Tecleada-en-usuario-91"
	r := nodes[0].trySignIn(t, juan, password)
	device := strings.TrimPrefix(throttleDeviceOf(t, r), "ldap_device=")
	live, ended := nodes[0].sessionOf(t, r), nodes[1].in(t, juan, password)
	for _, n := range nodes {
		live.at(n).wantUser(t, juan)
		ended.at(n).wantUser(t, juan)
	}
	replaced := nodes[0].trySignIn(t, juan, password, "Cookie", ended.cookie()+"; ldap_device="+device)
	last := nodes[0].sessionOf(t, replaced)
	last.at(nodes[1]).out(t)
	for _, name := range []string{maria, typo} {
		nodes[0].trySignIn(t, name, wrong, "Cookie", "ldap_device="+device)
	}
	nodes[1].do(t, "GET", "/", "", "Cookie", "sessionid="+live.token[1:]+"A")
	admin := ""
	for _, n := range nodes {
		for _, path := range []string{"/ldap_auth/sessions", "/ldap_auth/users", "/ldap_auth/counts", "/metrics", "/config/"} {
			admin += n.admin(t, "GET", path, "").body
		}
	}

	// One that has the wrong password says so, and not which.
	barred := cl.prepare(t, redis.Addr)
	barred.text = strings.Replace(barred.text, cl.storage, "username caddy\npassword "+clusterPassword+"-no", 1)
	barred.run(t, barred.text)
	barred.eventually(t, "a word about the password", func() bool { return strings.Contains(barred.read("caddy.json"), "WRONGPASS") })
	said := barred.read("caddy.json") + barred.read("printed.log")
	if strings.Contains(said, clusterPassword) {
		t.Error("the log of a node with a wrong password has it")
	}
	if r := barred.trySignIn(t, juan, password); !clusterUnknown(r) {
		t.Errorf("a sign-in there: %d %s", r.status, r.body)
	}

	secrets := map[string][]string{
		"password of Redis": {clusterPassword}, "password": {password}, "wrong password": {wrong}, "password typed as a name": {typo},
		"bind password": {directoryServicePassword}, "device cookie": {device},
	}
	for name, c := range map[string]session{"token": live, "token that was replaced": ended, "token that has ended": last} {
		secrets[name] = storeSpellings(t, c.token)
	}
	hash := string(storeHash(tokenBytes(t, live.token)))
	nodes[0].eventually(t, "all commands", func() bool { return strings.Contains(commands.String(), hash) })
	time.Sleep(100 * time.Millisecond) // for the last ones
	places := map[string]string{"what Redis is told": commands.String(), "a file of Redis": redisFiles(t, redis), "the operator's answers": admin}
	for place, text := range places {
		for name, spellings := range secrets {
			for _, secret := range spellings {
				if strings.Contains(text, secret) {
					t.Errorf("%s has the %s", place, name)
				}
			}
		}
		// That which is there, or nothing was looked at.
		if there := strings.Contains(text, hash) && strings.Contains(text, live.csrf); there != (place != "the operator's answers") {
			t.Errorf("%s: that it has the hash of the token and the CSRF token is %v", place, there)
		}
	}
	if strings.Contains(admin, hex.EncodeToString([]byte(hash))) {
		t.Error("the operator's answers have the hash of a token")
	}
	for _, n := range nodes {
		n.child.Stop()
		for name, spellings := range secrets {
			for _, secret := range spellings {
				if files := n.hasWritten(t, secret); files != nil {
					t.Errorf("the %s is in %q", name, files)
				}
			}
		}
	}
}

// redisFiles is what a Redis has on its disk and in its log.
func redisFiles(t *testing.T, redis *realserver.Redis) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(redis.Folder(), func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || entry.Name() == "redis.conf" {
			return err
		}
		text, err := os.ReadFile(path)
		all.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}
