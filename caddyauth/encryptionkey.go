package caddyauth

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
)

// readEncryptionKey reads the key from a file that is for this user alone; a
// link to one will do, as containers mount secrets. It is 16, 24 or 32 bytes, as hex or base64 on one line, or 32 bytes as they are.
// No error shows what is in the file.
func readEncryptionKey(name string) ([]byte, error) {
	// Before it is opened, which waits for a writer if it is a named pipe.
	if err := checkKeyFile(os.Stat(name)); err != nil {
		return nil, err
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if err := checkKeyFile(file.Stat()); err != nil {
		return nil, err
	}
	const most = 1 << 10 // a key with much white space around it
	b, err := io.ReadAll(io.LimitReader(file, most))
	if err != nil {
		return nil, err
	}
	key := decodeKey(b)
	if key == nil {
		return nil, errors.New(`it holds no key: one is 16, 24 or 32 bytes, as hex or base64 on one line; make one with "openssl rand -hex 32"`)
	}
	return key, nil
}

func checkKeyFile(info os.FileInfo, err error) error {
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return errors.New("it is not a regular file")
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("it is open to other users (mode %04o): run \"chmod 600\" on it", info.Mode().Perm())
	}
	// Whose it is does not matter: of another user's only root can read it, as in
	// "sudo caddy validate".
	return nil
}

// decodeKey returns the key in a file, nil if there is none. Of what can be read
// in several ways the first counts: hex, base64, bytes.
func decodeKey(b []byte) []byte {
	text := string(bytes.TrimSpace(b))
	for _, decode := range []func(string) ([]byte, error){
		hex.DecodeString, base64.StdEncoding.Strict().DecodeString, base64.RawStdEncoding.Strict().DecodeString,
	} {
		key, err := decode(text)
		if err == nil && (len(key) == 16 || len(key) == 24 || len(key) == 32) && !bytes.ContainsAny(bytes.TrimSpace(b), "\r\n") {
			return key
		}
	}
	if len(b) == 32 {
		return b
	}
	return nil
}
