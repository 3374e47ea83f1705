package caddyauth

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/caddyauth/caddy-ldap/sessionstore/badgerstore"
)

// holdFolderVar makes the test binary another process that has a session
// folder open until its standard input ends.
const holdFolderVar = "CADDYAUTH_TEST_HOLD_FOLDER"

func holdFolder(folder string) {
	store, err := badgerstore.Open(folder, badgerstore.Options{}, slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("open")
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = store.Close()
	os.Exit(0)
}
