#!/bin/bash
# The long attack, after make's set-up and checks: every fuzzer of the module for
# FUZZ (default 60s), then with CADDY_LDAP_ATTACK=long the tests that do more for
# it: the soak, and the program without each of its rules in turn. Goes on after
# a failure, and says at the end what failed.
set -euo pipefail
cd "$(dirname "$0")/.."

export CADDY_LDAP_REQUIRE_SERVERS=1
failed=()
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# What it finds it leaves in testdata, as a regression test. On a busy machine the
# time may end while inputs run, which go test calls a failure, and which is none.
fuzz() {
	go test -run '^$' -fuzz "^$1\$" -fuzztime "${FUZZ:-60s}" "$2" 2>&1 | tee "$log" && return
	grep -q '^    context deadline exceeded$' "$log" && ! grep -q 'Failing input written' "$log"
}

for package in $(go list ./...); do
	listed=$(go test -list '^Fuzz' "$package") || { failed+=("listing the fuzzers of $package"); continue; }
	for fuzzer in $(sed -n '/^Fuzz/p' <<<"$listed"); do
		echo "attack: $fuzzer of $package"
		fuzz "$fuzzer" "$package" || failed+=("$fuzzer of $package")
	done
done

for folder in $(grep -rl --include='*_test.go' CADDY_LDAP_ATTACK . | xargs -n 1 dirname | sort -u); do
	echo "attack: the long tests of $folder"
	CADDY_LDAP_ATTACK=long go test -race -count=1 -timeout 2h "$folder" || failed+=("$folder")
done

if [ ${#failed[@]} -gt 0 ]; then
	printf 'attack: failed: %s\n' "${failed[@]}" >&2
	exit 1
fi
echo "attack: nothing got through"
