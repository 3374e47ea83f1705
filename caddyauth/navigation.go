package caddyauth

import (
	"net/http"
	"strings"
)

// wantsPage tells whether a person's browser waits for a page, rather than a
// program for data. Fetch metadata decide where they are sent; browsers leave
// them out over plain HTTP, and then Accept decides. The User-Agent never does.
func wantsPage(r *http.Request) bool {
	if modes, ok := r.Header["Sec-Fetch-Mode"]; ok {
		if len(modes) != 1 || modes[0] != "navigate" {
			return false
		}
		switch r.Header.Get("Sec-Fetch-Dest") {
		case "", "document", "iframe", "frame", "embed", "object":
			return true
		}
		return false
	}
	return acceptsHTML(r.Header["Accept"])
}

// isNavigation tells whether a refusal may lead the browser to the sign-in
// page: only for methods that lose nothing on the way.
func isNavigation(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && !isUpgrade(r) && wantsPage(r)
}

// acceptsHTML looks for a media type that only browsers ask for by name; */* is
// what programs send.
func acceptsHTML(accept []string) bool {
	for _, value := range accept {
		for item := range strings.SplitSeq(value, ",") {
			mediaType, parameters, _ := strings.Cut(item, ";")
			switch strings.ToLower(trimOWS(mediaType)) {
			case "text/html", "application/xhtml+xml":
				if !hasZeroQuality(parameters) {
					return true
				}
			}
		}
	}
	return false
}

func hasZeroQuality(parameters string) bool {
	for parameter := range strings.SplitSeq(parameters, ";") {
		name, value, _ := strings.Cut(parameter, "=")
		if strings.EqualFold(trimOWS(name), "q") {
			return strings.Trim(trimOWS(value), "0.") == ""
		}
	}
	return false
}

// isUpgrade tells whether the request leaves HTTP for a WebSocket.
func isUpgrade(r *http.Request) bool {
	return isWebSocketUpgrade(r) || isWebSocketConnect(r)
}

// isWebSocketUpgrade looks for the whole handshake of RFC 6455 section 4.1: a
// header alone must not make a form post pass for one.
func isWebSocketUpgrade(r *http.Request) bool {
	values := r.Header["Upgrade"]
	if r.Method != http.MethodGet || r.ProtoMajor != 1 || len(values) != 1 || !strings.EqualFold(trimOWS(values[0]), "websocket") {
		return false
	}
	for _, line := range r.Header["Connection"] {
		for option := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(trimOWS(option), "upgrade") {
				return true
			}
		}
	}
	return false
}

// isWebSocketConnect looks for the extended CONNECT of HTTP/2 and HTTP/3
// (RFC 8441, RFC 9220). Go shows its protocol as a header for HTTP/2, quic-go
// in place of the request's own for HTTP/3.
func isWebSocketConnect(r *http.Request) bool {
	return r.Method == http.MethodConnect &&
		(r.Header.Get(":protocol") == "websocket" || r.ProtoMajor == 3 && r.Proto == "websocket")
}
