package caddyauth

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"unicode"
)

// redisAddress is where a server of Redis listens.
type redisAddress struct{ host, port string }

func (a redisAddress) String() string { return net.JoinHostPort(a.host, a.port) }

// isLoopback tells whether what is sent there stays on this machine.
func (a redisAddress) isLoopback() bool {
	ip, err := netip.ParseAddr(a.host)
	return a.host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// checkRedisAddress finds what is wrong with an address that may still have
// placeholders.
func checkRedisAddress(text string) error {
	if err := checkRedisForm(text); err != nil {
		return err
	}
	if strings.ContainsAny(text, "{}") {
		return nil
	}
	_, err := parseRedisAddress(text, "6379")
	return err
}

// checkRedisForm refuses what other programs take for an address. What may have
// a password in it is not repeated.
func checkRedisForm(text string) error {
	scheme, _, isURL := strings.Cut(text, "://")
	switch {
	case isURL && scheme == "rediss":
		return errors.New("an address is a rediss:// URL: write host:port instead, and tls, username and password as options")
	case isURL && scheme == "unix", strings.HasPrefix(text, "/"), strings.HasPrefix(text, "unix:"), strings.HasPrefix(text, "unix/"):
		return errors.New("an address is a Unix socket, which Redis is not reached by here: write host:port instead")
	case isURL:
		return errors.New("an address is a URL: write host:port instead, and username and password as options")
	case strings.Contains(text, "@"):
		return errors.New("an address has an @: write host:port alone, and username and password as options")
	case strings.TrimSpace(text) == "":
		return errors.New("an address is empty: write host:port")
	}
	return nil
}

// parseRedisAddress reads an address; one without a port has otherwise.
func parseRedisAddress(text, otherwise string) (redisAddress, error) {
	if err := checkRedisForm(text); err != nil {
		return redisAddress{}, err
	}
	address := redisAddress{host: text, port: otherwise}
	switch _, err := netip.ParseAddr(text); {
	case err == nil: // an IPv6 address has colons without a port
	case strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]"):
		address.host = text[1 : len(text)-1]
	case strings.Contains(text, ":"):
		if address.host, address.port, err = net.SplitHostPort(text); err != nil {
			return redisAddress{}, fmt.Errorf("the address %q is not host:port", text)
		}
	}
	if _, err := netip.ParseAddr(address.host); err != nil && (address.host == "" || strings.ContainsFunc(address.host, notInHostNames)) {
		return redisAddress{}, fmt.Errorf("the address %q has no host's name: write host:port, and several with a space between them", text)
	}
	if port, err := strconv.ParseUint(address.port, 10, 16); err != nil || port == 0 {
		return redisAddress{}, fmt.Errorf("the address %q has the port %q: it is a number from 1 to 65535", text, address.port)
	}
	return address, nil
}

func notInHostNames(c rune) bool {
	return !unicode.IsLetter(c) && !unicode.IsDigit(c) && !strings.ContainsRune(".-_", c)
}
