package caddyauth

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// privateRanges in a list of addresses stands for Caddy's private ranges.
const privateRanges = "private_ranges"

func parseTrustedIPs(list []string) ([]netip.Prefix, error) {
	if len(list) == 0 {
		return nil, errors.New("trusted_ips: the list is empty: name at least one range, or leave the option out")
	}
	prefixes := make([]netip.Prefix, 0, len(list))
	for _, item := range list {
		if item == privateRanges {
			for _, private := range caddyhttp.PrivateRangesCIDR() {
				prefix, err := parsePrefix(private)
				if err != nil {
					return nil, fmt.Errorf("trusted_ips: reading %s: %w", privateRanges, err)
				}
				prefixes = append(prefixes, prefix)
			}
			continue
		}
		prefix, err := parsePrefix(item)
		if err != nil {
			return nil, fmt.Errorf("trusted_ips: invalid range %q: use a CIDR range, an address or %s", item, privateRanges)
		}
		prefixes = append(prefixes, prefix)
	}
	return prefixes, nil
}

// parsePrefix reads a range or a single address. An IPv4 range in its IPv6
// spelling (::ffff:10.0.0.0/104) becomes the IPv4 one, because addresses are
// compared unmapped.
func parsePrefix(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return netip.Prefix{}, err
		}
		addr = addr.Unmap().WithZone("")
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	if addr := prefix.Addr(); addr.Is4In6() && prefix.Bits() >= 96 {
		prefix = netip.PrefixFrom(addr.Unmap(), prefix.Bits()-96)
	}
	return prefix.Masked(), nil
}

// clientIP returns Caddy's client IP, unmapped and without a zone, so that
// ::ffff:10.0.0.1 is 10.0.0.1. It is invalid for listeners without addresses
// (Unix sockets), and then no address rule can pass.
func clientIP(r *http.Request) netip.Addr {
	value, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	addr, err := netip.ParseAddr(value)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Unmap().WithZone("")
}

// clientIPText is the client's address for records and logs, "" for none.
func clientIPText(r *http.Request) string {
	if addr := clientIP(r); addr.IsValid() {
		return addr.String()
	}
	return ""
}

// ipAllowed applies trusted_ips. Behind a proxy that is trusted without
// trusted_proxies_strict the client chooses its own address, so nobody passes:
// the Caddyfile adapter refuses that configuration, JSON ends here.
func (p *policy) ipAllowed(r *http.Request) (allowed, chosenByClient bool) {
	if p.ips == nil {
		return true, false
	}
	if addressIsClients(r) {
		return false, true
	}
	addr := clientIP(r)
	for _, prefix := range p.ips {
		if prefix.Contains(addr) {
			return true, false
		}
	}
	return false, false
}

// addressIsClients tells whether the client may have chosen the address that it
// seems to have.
func addressIsClients(r *http.Request) bool {
	if !peerIsTrustedProxy(r) {
		return false
	}
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	return server == nil || server.TrustedProxiesStrict <= 0
}

// peerIsTrustedProxy tells whether the peer is in Caddy's trusted_proxies: only
// then X-Forwarded-* headers mean anything.
func peerIsTrustedProxy(r *http.Request) bool {
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	return trusted
}

// peerIsLoopback tells whether the connection itself, not what a header says,
// comes from this machine.
func peerIsLoopback(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && peer.Addr().Unmap().IsLoopback()
}
