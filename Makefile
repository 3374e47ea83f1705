# make test   set up a Debian machine, build, check and test everything
# make check  the same without set-up and tests: build, vet, gofmt, staticcheck
# make bench  measure; prints numbers, judges nothing
#
# `go test ./...` alone needs nothing installed and skips what needs a real
# server. Here such a skip is a failure. Samba's ports need root: for another
# user the test programs run under sudo.

SHELL       := /bin/bash
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
AS_ROOT     := $(if $(filter-out 0,$(shell id -u)),-exec 'sudo -E env "PATH=$(PATH)" "HOME=$(HOME)" CADDY_LDAP_REQUIRE_SERVERS=1')

.NOTPARALLEL:
.PHONY: test setup check bench

test: setup check
	CADDY_LDAP_REQUIRE_SERVERS=1 go test -race -count=1 -p 2 -timeout 10m $(AS_ROOT) ./...

setup:
	scripts/setup-tests.sh

check:
	go build ./...
	go vet ./...
	@unformatted="$$(gofmt -l .)"; test -z "$$unformatted" || \
		{ echo "not formatted by gofmt:"; echo "$$unformatted"; exit 1; }
	go run $(STATICCHECK) ./...

bench:
	go test -run '^$$' -bench . -benchmem -timeout 20m ./...
