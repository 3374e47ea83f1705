package realserver

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"testing"
)

func TestIssuedCertificate(t *testing.T) {
	dir := t.TempDir()
	ca, err := NewCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewCA(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile, err := ca.Issue(dir, "dc1.corp.test", "localhost", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatalf("loading the pair: %v", err)
	}
	filePool := x509.NewCertPool()
	pem, err := os.ReadFile(ca.File)
	if err != nil || !filePool.AppendCertsFromPEM(pem) {
		t.Fatalf("loading %q: %v", ca.File, err)
	}

	tests := []struct {
		what  string
		roots *x509.CertPool
		name  string
		valid bool
	}{
		{"its host name", ca.Pool(), "dc1.corp.test", true},
		{"a second name", ca.Pool(), "localhost", true},
		{"its address", ca.Pool(), "127.0.0.1", true},
		{"the CA read from its file", filePool, "dc1.corp.test", true},
		{"another host", ca.Pool(), "dc2.corp.test", false},
		{"another address", ca.Pool(), "127.0.0.2", false},
		{"another CA", other.Pool(), "dc1.corp.test", false},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			_, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: test.roots, DNSName: test.name})
			if (err == nil) != test.valid {
				t.Errorf("Verify: %v, want valid %v", err, test.valid)
			}
		})
	}
	if info, err := os.Stat(keyFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's mode is %v, %v; want 0600", info.Mode(), err)
	}
}
