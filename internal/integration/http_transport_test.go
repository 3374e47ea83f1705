package integration

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Row 23: passwords do not cross the network readable by mistake, and a domain
// that wants TLS is not taken for one that refuses people.
func TestHTTPPlaintextIsRefusedOnAD(t *testing.T) {
	dc := servers.Samba(t)
	c := newCaddy(t)
	plain := func(url string, options ...string) string {
		return c.caddyfile(directoryBlock(dc.Domain, url, dc.CA.File, options...), "require_session", newEcho(t), "")
	}
	err := c.validate(t, plain("ldap://"+dc.Host+":389"))
	if err == nil || !strings.Contains(err.Error(), "start_tls") || !strings.Contains(err.Error(), "insecure_plaintext") {
		t.Errorf("loading ldap:// without TLS: %v, want an error that names start_tls and insecure_plaintext", err)
	}
	if err := c.validate(t, plain("ldap://"+dc.Host+":389", "start_tls")); err != nil {
		t.Errorf("loading ldap:// with start_tls: %v", err)
	}
	c.options = []string{noThrottle}
	c.run(t, plain(dc.PlainURL, "insecure_plaintext"))
	site := newClient(t, c)
	for _, password := range []string{dc.Juan.Password, "una-clave-que-no-es"} {
		r, err := site.trySignIn("juan", password)
		if err != nil {
			t.Fatal(err)
		}
		expectUnavailable(t, r)
		site.expectAudit(t, auditLine{Event: "sign_in", Result: "unavailable", Reason: "tls_required", User: "juan"})
	}
	if !strings.Contains(c.read("caddy.log"), "insecure_plaintext is set") {
		t.Error("nothing warns of insecure_plaintext")
	}
}

// Row 24: what is wrong with a domain controller's certificate is said in the
// log, with the cure, and the password goes to nobody who has not proven who he
// is.
func TestHTTPCertificatesOfADThatCannotBeVerified(t *testing.T) {
	dc := servers.Samba(t)
	for _, test := range []struct {
		what, caFile string
		certificate  oddCertificate
		log          []string
	}{
		{"self-signed, no ca_file", "", oddCertificate{}, []string{"unknown authority", "ca_file"}},
		{"self-signed, the CA of another", dc.CA.File, oddCertificate{}, []string{"unknown authority", "ca_file"}},
		{"negative serial, as of Samba's own", "own", oddCertificate{negativeSerial: true}, []string{"negative serial", "GODEBUG=x509negativeserial=1", "reissue"}},
		{"no SAN", "own", oddCertificate{noSAN: true}, []string{"no SAN", "reissue"}},
		{"the real one, no ca_file", "none", oddCertificate{}, []string{"unknown authority", "ca_file"}},
	} {
		t.Run(test.what, func(t *testing.T) {
			t.Parallel()
			addr, ownCA, received := serveWithCertificate(t, test.certificate)
			url, caFile := "ldaps://"+addr, test.caFile
			switch caFile {
			case "own":
				caFile = ownCA
			case "none":
				url, caFile = dc.URL, ""
			}
			block := directoryBlock(dc.Domain, url, caFile)
			if caFile == "" {
				block = strings.Replace(block, "ca_file", "", 1)
			}
			site := startSite(t, block, "require_session")
			r, err := site.trySignIn("juan", dc.Juan.Password)
			if err != nil {
				t.Fatal(err)
			}
			expectUnavailable(t, r)
			log := site.caddy.read("caddy.log")
			for _, want := range test.log {
				if !strings.Contains(log, want) {
					t.Errorf("the log does not say %q", want)
				}
			}
			if text := received(); strings.Contains(text, dc.Juan.Password) {
				t.Error("the password was sent")
			}
		})
	}
}

// oddCertificate is what is wrong with a certificate.
type oddCertificate struct{ negativeSerial, noSAN bool }

// serveWithCertificate takes the place of a controller with a self-signed
// certificate: the shared one has a good one. received is what clients have
// sent over TLS.
func serveWithCertificate(t *testing.T, odd oddCertificate) (addr, caFile string, received func() string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0x12345678), Subject: pkix.Name{CommonName: "dc1.corp.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	if !odd.noSAN {
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	caFile = filepath.Join(t.TempDir(), "own.pem")
	if err := os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	if odd.negativeSerial {
		// Go makes none, so that the sign bit is set afterwards.
		der = bytes.Replace(der, []byte{0x02, 0x04, 0x12, 0x34}, []byte{0x02, 0x04, 0x92, 0x34}, 1)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var sent bytes.Buffer
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				buf := make([]byte, 4096)
				for {
					n, err := conn.Read(buf)
					mu.Lock()
					sent.Write(buf[:n])
					mu.Unlock()
					if err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		serving.Wait()
	})
	return listener.Addr().String(), caFile, func() string {
		mu.Lock()
		defer mu.Unlock()
		return sent.String()
	}
}
