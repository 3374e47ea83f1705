#!/bin/bash
# Takes the pictures in docs/images anew: the pages of the program as it is in
# this checkout, seen by Chromium. Look at them before you commit them: letters
# and times are those of this machine.
set -euo pipefail
cd "$(dirname "$0")/.."

# The old ones stay until all of the new ones are there.
new=$(mktemp -d)
trap 'rm -r "$new"' EXIT
CADDY_LDAP_REQUIRE_SERVERS=1 CADDY_LDAP_SCREENSHOTS="$new" \
	go test -count=1 -timeout 10m -run '^TestScreenshots$' ./internal/screenshots

mkdir -p docs/images
rm -f docs/images/*.png
cp "$new"/*.png docs/images/
ls -l docs/images
