package attack

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// tokenSources calls look with each source file of the product.
func tokenSources(t *testing.T, look func(name string, file *ast.File)) {
	t.Helper()
	root := filepath.Join("..", "..")
	looked := 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		name, _ := filepath.Rel(root, path)
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (name == "internal" || name != "." && strings.HasPrefix(entry.Name(), ".")),
			entry.IsDir() && slices.Contains([]string{"ldaptest", "storetest"}, entry.Name()):
			return filepath.SkipDir
		case entry.IsDir(), !strings.HasSuffix(name, ".go"), strings.HasSuffix(name, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		looked++
		look(filepath.ToSlash(name), file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if looked < 100 {
		t.Fatalf("only %d files were looked at", looked)
	}
}

// Secrets come from crypto/rand and are compared in constant time; what is
// broken is not used. The few places that may draw from math/rand spread load
// with it: a new one has to be looked at, and added here.
func TestS31OnlySoundCryptography(t *testing.T) {
	t.Parallel()
	spreadsLoad := []string{"caddyauth/recheck.go", "ldap/health.go", "ldap/srv.go", "sessionstore/redisstore/keeper.go", "throttle/sharedledger.go", "throttle/sketch.go"}
	broken := []string{"crypto/md5", "crypto/sha1", "crypto/des", "crypto/rc4", "crypto/dsa", "crypto/elliptic", "golang.org/x/crypto/md4", "unsafe", "github.com/dgrijalva/jwt-go"}
	drawsSecrets, comparesSecrets := false, false
	tokenSources(t, func(name string, file *ast.File) {
		for _, spec := range file.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case path == "crypto/sha1" && name == "sessionstore/redisstore/script.go":
				// Redis names scripts so; their texts are constants.
			case slices.Contains(broken, path):
				t.Errorf("%s imports %s", name, path)
			case strings.HasPrefix(path, "math/rand") && !slices.Contains(spreadsLoad, name):
				t.Errorf("%s imports %s", name, path)
			case strings.HasPrefix(path, "crypto/rand") && name == "sessionstore/token.go":
				drawsSecrets = true
			case path == "crypto/subtle" && name == "caddyauth/csrf.go":
				comparesSecrets = true
			}
		}
		ast.Inspect(file, func(node ast.Node) bool {
			if pair, ok := node.(*ast.KeyValueExpr); ok {
				if key, ok := pair.Key.(*ast.Ident); ok && key.Name == "InsecureSkipVerify" {
					t.Errorf("%s sets InsecureSkipVerify", name)
				}
			}
			return true
		})
	})
	if !drawsSecrets || !comparesSecrets {
		t.Errorf("tokens come from crypto/rand: %t; the CSRF token is compared with crypto/subtle: %t", drawsSecrets, comparesSecrets)
	}
}
