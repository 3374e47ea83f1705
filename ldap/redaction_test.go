package ldap

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"

	ber "github.com/go-asn1-ber/asn1-ber"

	"github.com/caddyauth/caddy-ldap/ldap/ldaptest"
)

const (
	bindSecret = "s3cr3t-of-the-service"
	userSecret = "s3cr3t-of-the-user"
)

func clean(t *testing.T, what, text string) {
	t.Helper()
	for _, secret := range []string{bindSecret, userSecret} {
		if strings.Contains(text, secret) || strings.Contains(text, fmt.Sprintf("%x", secret)) || strings.Contains(text, fmt.Sprint([]byte(secret))) {
			t.Errorf("%s shows a password: %s", what, text)
		}
	}
}

func TestPasswordsAreNeverPrinted(t *testing.T) {
	config := Config{
		Label: "corp.test", Servers: []string{"ldaps://dc1"}, BindUser: "svc", BindPassword: bindSecret,
		Logger: slog.New(slog.DiscardHandler),
	}
	d, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	inURL := config
	inURL.Servers = []string{"ldaps://svc:" + bindSecret + "@dc1"}
	type holder struct {
		Config Config
		D      *Directory
	}
	for name, v := range map[string]any{
		"Config": config, "*Config": &config, "Config with a password in a URL": inURL, "Directory": d,
		"struct": holder{config, d}, "slice": []Config{config}, "service account": d.service,
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			clean(t, name+" with "+verb, fmt.Sprintf(verb, v))
		}
		var buf bytes.Buffer
		slog.New(slog.NewTextHandler(&buf, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&buf, nil)).Info("x", "v", v)
		clean(t, name+" in slog", buf.String())
	}
	encoded, _ := json.Marshal(struct{ BindUser, BindPassword any }{config.BindUser, nil})
	clean(t, "JSON", string(encoded))
}

func TestPasswordsAreInNoErrorAndNoLog(t *testing.T) {
	dir := ldaptest.Demo()
	dir.Users[0].Password = userSecret
	dir.Users[0].ExtraAttributes = map[string][]string{"objectSid": {"\x01\x01\x00\x00\x00\x00\x00\x05\x07\x00\x00\x00"}}
	ad := serve(t, dir)
	plain := serve(t, plainDirectory())
	adLike, generic := adConfig(ad), plainConfig(plain)
	adLike.BindUser, adLike.BindPassword, adLike.Groups = "svc@empresa.local", bindSecret, []string{"x"}
	generic.BindPassword = bindSecret
	for _, config := range []Config{adLike, generic} {
		for _, stage := range []ldaptest.Stage{ldaptest.StallNever, ldaptest.StallBind, ldaptest.StallSearch} {
			ad.Stall(stage)
			plain.Stall(stage)
			d, l := open(t, config)
			d.Group("x")
			for _, name := range []string{"ac12345", "nobody", "bloqueada", "a\x00"} {
				_, err := d.SignIn(context.Background(), name, userSecret)
				if err == nil {
					t.Errorf("%q signed in", name)
				}
				clean(t, "error", fmt.Sprintf("%v %+v %#v", err, err, err))
			}
			d.Close()
			clean(t, "log", l.String())
		}
	}
}

// A server that repeats the password in its answer must not bring it into logs,
// nor a password that looks like an answer hide why it was refused.
func TestPasswordsInDiagnostics(t *testing.T) {
	for _, test := range []struct {
		password string
		reason   Reason
	}{{"geheim-4711", ReasonAccountLocked}, {"AcceptSecurityContext", ReasonAccountLocked}, {"775", ReasonAccountLocked}} {
		url := "ldap://" + listen(t, func(c net.Conn) {
			ber.ReadPacket(c)
			c.Write(searchDone(1))
			ber.ReadPacket(c)
			text := "AcceptSecurityContext error, data 775, password " + test.password
			op := append([]byte{0x0a, 0x01, 0x31, 0x04, 0x00, 0x04, byte(len(text))}, text...)
			c.Write(reply(2, append([]byte{0x61, byte(len(op))}, op...)))
			ber.ReadPacket(c)
		})
		d, _ := open(t, Config{Kind: KindAD, Servers: []string{url}})
		refused := mustRefuse(t, d, "ac12345", test.password, test.reason)
		if strings.Contains(refused.Error(), "password "+test.password) {
			t.Errorf("the error has the password: %v", refused)
		}
	}
}
