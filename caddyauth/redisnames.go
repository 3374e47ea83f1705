package caddyauth

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode"
)

// checkServerName finds what certificates have no name for. What may have a
// password in it is not repeated.
func checkServerName(text string) error {
	const cure = "write a host's name or IP address alone, as in redis.example.com"
	switch {
	case strings.Contains(text, "://"):
		return errors.New("server_name is a URL: " + cure)
	case strings.Contains(text, "@"):
		return errors.New("server_name has an @: " + cure)
	case strings.ContainsFunc(text, func(c rune) bool { return c > unicode.MaxASCII }):
		return fmt.Errorf("server_name: %q has other letters than certificates have: write it as they do, with xn--", text)
	}
	host := text
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") && strings.Contains(host, ":") {
		host = host[1 : len(host)-1]
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.Zone() == "" {
		return nil
	}
	if !isHostName(text) {
		return fmt.Errorf("server_name: %q is neither a host's name nor an IP address: "+cure, text)
	}
	return nil
}

// isHostName goes by RFC 1123, section 2.1, and lets the underscore pass that
// many networks use. A name whose last label is a number would be an IP address,
// and is a wrong one.
func isHostName(text string) bool {
	text = strings.TrimSuffix(text, ".")
	labels := strings.Split(text, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") ||
			strings.ContainsFunc(label, func(c rune) bool { return c == '.' || c > unicode.MaxASCII || notInHostNames(c) }) {
			return false
		}
	}
	return len(text) <= 253 && strings.ContainsFunc(labels[len(labels)-1], func(c rune) bool { return !unicode.IsDigit(c) })
}

// checkSentinel finds what sentinels have no name for. They take more than their
// documentation says, but nothing that is blank.
func checkSentinel(name string) error {
	if strings.ContainsFunc(name, func(c rune) bool { return unicode.IsSpace(c) || unicode.IsControl(c) || c == '{' || c == '}' }) {
		return fmt.Errorf("sentinel: %q is no name of a primary: write the one of sentinel monitor, as in mymaster", name)
	}
	return nil
}
