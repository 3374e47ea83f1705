# make test   set up a Debian machine, build, check and test everything
# make check  the same without set-up and tests: build, vet, gofmt, staticcheck
# make attack the long attack on the gate: all fuzzers (a minute each; FUZZ=10m
#             takes longer), a soak, and the program without each of its
#             security rules in turn, which a test has to notice: about an hour
# make screenshots  take the pictures of the documentation anew
# make bench  measure; prints numbers, ratios first, judges nothing. It takes
#             about twenty minutes, 2 GB of disk in BENCH_DIR (default: the
#             folder for temporary files; it has to be on a real disk) and wants
#             the machine for itself. What is about Redis needs redis-server. To
#             try it: make bench BENCH="-sessions 20000 -short"; go run
#             ./internal/bench -help names the rest
#
# `go test ./...` alone needs nothing installed and skips what needs a real
# server. Here such a skip is a failure. Samba's ports need root: for another
# user the test programs run under sudo.

SHELL       := /bin/bash
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
AS_ROOT     := $(if $(filter-out 0,$(shell id -u)),-exec 'sudo -E env "PATH=$(PATH)" "HOME=$(HOME)" CADDY_LDAP_REQUIRE_SERVERS=1')

.NOTPARALLEL:
.PHONY: test setup check attack bench screenshots

test: setup check
	CADDY_LDAP_REQUIRE_SERVERS=1 go test -race -count=1 -p 2 -timeout 10m $(AS_ROOT) ./...
	! command -v valkey-server || CADDY_LDAP_REQUIRE_SERVERS=1 CADDY_LDAP_REDIS_SERVER=valkey-server go test -race -count=1 ./sessionstore/redisstore

setup:
	scripts/setup-tests.sh

check:
	go build ./...
	go vet ./...
	@unformatted="$$(gofmt -l .)"; test -z "$$unformatted" || \
		{ echo "not formatted by gofmt:"; echo "$$unformatted"; exit 1; }
	go run $(STATICCHECK) ./...

attack: setup check
	scripts/attack.sh

screenshots: setup
	scripts/screenshots.sh

bench:
	go run ./internal/bench $(if $(BENCH_DIR),-dir $(BENCH_DIR)) $(BENCH)
	go test -run '^$$' -bench . -benchmem -timeout 20m ./...
