#!/bin/bash
# Installs what the tests need and this Debian machine lacks: the real directory
# servers, Redis, a shared cache, the real HTTP clients, a browser, and the C
# compiler of the race detector. Fetches axe-core, which looks for barriers in
# pages, from npm.
# Runs apt and npm only when something is missing; uses sudo for apt when it is not
# root.
set -euo pipefail

packages=(
	slapd ldap-utils
	samba samba-ad-dc samba-ad-provision samba-dsdb-modules samba-vfs-modules winbind
	389-ds-base libnss3-tools openssl
	python3 python3-requests
	curl ca-certificates
	nginx-light
	chromium
	redis-server
	gcc libc6-dev
)
# Where Debian has it, from 13 on: the tests of Redis run on it as well.
optional=(valkey-server)
# 389-ds-base is not here: its services are one for each instance, and there is none.
# Neither is chromium: it has no service.
services=(slapd smbd nmbd winbind samba-ad-dc nginx redis-server valkey-server)

say() { echo "setup-tests: $*"; }
fail() { echo "setup-tests: $*" >&2; exit 1; }

command -v go >/dev/null || fail "go is not in PATH; install Go 1.26 or newer first"

command -v dpkg-query >/dev/null ||
	fail "this is no Debian system; install these by hand, then run 'go test ./...': ${packages[*]}"

installed() {
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# axe-core is for this user, in the folder where internal/axe looks too. A
# relative XDG_CACHE_HOME counts as none (XDG base directory specification).
read -r axe_version axe_digest <"$(dirname "$0")/../internal/axe/release"
cache=${XDG_CACHE_HOME:-}
case $cache in
/*) ;;
*) cache=${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}/.cache ;;
esac
axe=$cache/caddy-ldap/axe-core-$axe_version/axe.min.js
if [ ! -s "$axe" ] && ! command -v npm >/dev/null; then
	packages+=(npm) # not where there is one already: it may be newer, with a node of its own
fi

missing=()
for package in "${packages[@]}"; do
	installed "$package" || missing+=("$package")
done
offered() {
	[[ $(apt-cache policy "$1" 2>/dev/null) == *"Candidate: "[0-9]* ]]
}
for package in "${optional[@]}"; do
	installed "$package" || ! offered "$package" || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ] && [ -s "$axe" ]; then
	say "nothing is missing"
	exit 0
fi

# What is there only while this script runs; it goes however the script ends.
as_root=()
policy=
folder=
clean() {
	[ -z "$policy" ] || "${as_root[@]}" rm -f "$policy"
	[ -z "$folder" ] || rm -rf "$folder"
}
trap clean EXIT

install_packages() {
	say "missing: ${missing[*]}"
	if [ "$(id -u)" -ne 0 ]; then
		command -v sudo >/dev/null || fail "not root, and sudo is not installed"
		as_root=(sudo)
	fi

	# The tests start servers of their own. The packages' services would take the
	# ports that Samba cannot give up (389, 636) and stay on the machine for good,
	# open to its network: so apt may start none, and those that were not there
	# before are disabled. Services that the machine already had are left alone.
	ours=()
	for service in "${services[@]}"; do
		if [ ! -e "/lib/systemd/system/$service.service" ] && [ ! -e "/etc/init.d/$service" ]; then
			ours+=("$service")
		fi
	done

	if [ ! -e /usr/sbin/policy-rc.d ]; then
		policy=/usr/sbin/policy-rc.d
		say "keeping apt from starting services ($policy, removed at the end)"
		printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
		"${as_root[@]}" chmod 755 "$policy"
	fi

	apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -y -q -o Dpkg::Use-Pty=0 -o Acquire::Retries=3)
	say "apt-get update"
	"${apt[@]}" update
	for package in "${optional[@]}"; do # a fresh machine's lists may have been empty
		if ! installed "$package" && offered "$package" && [[ " ${missing[*]} " != *" $package "* ]]; then
			missing+=("$package")
		fi
	done
	say "apt-get install ${missing[*]}"
	"${apt[@]}" install --no-install-recommends "${missing[@]}"

	for service in "${ours[@]}"; do
		if [ -e "/lib/systemd/system/$service.service" ] || [ -e "/etc/init.d/$service" ]; then
			say "disabling the service $service"
			"${as_root[@]}" update-rc.d "$service" disable
		fi
	done

	for package in "${missing[@]}"; do
		installed "$package" || fail "$package is still not installed"
	done
}

fetch_axe() {
	say "fetching axe-core $axe_version"
	mkdir -p "$(dirname "$axe")"
	# Beside its place: tests that run meanwhile find the whole file or none.
	folder=$(mktemp -d "$cache/caddy-ldap/fetching.XXXXXX")
	(cd "$folder" && npm pack --ignore-scripts --no-update-notifier --loglevel error "axe-core@$axe_version" >/dev/null) ||
		fail "npm did not fetch axe-core $axe_version"
	local archive=$folder/axe-core-$axe_version.tgz digest
	digest=sha512-$(openssl dgst -sha512 -binary "$archive" | base64 -w 0)
	[ "$digest" = "$axe_digest" ] ||
		fail "axe-core $axe_version is not the one that was chosen: its digest is $digest, not $axe_digest"
	tar -xzf "$archive" -C "$folder" --no-same-owner package/axe.min.js
	mv "$folder/package/axe.min.js" "$axe"
}

[ ${#missing[@]} -eq 0 ] || install_packages
[ -s "$axe" ] || fetch_axe
say "done"
