package caddyauth

// verdict is what the gate decides for a request.
type verdict int

const (
	allow       verdict = iota // let it through, with the session's identity
	allowPublic                // let it through without one
	preflight                  // answer a trusted origin's preflight
	signIn                     // refuse for want of a session
	forbid                     // refuse although there may be one
	unavailable                // refuse because nothing can be known
)

// sessionState is what is known of a request's session.
type sessionState int

const (
	sessionNone    sessionState = iota // no cookie, or one that stands for nothing
	sessionLive                        // live, of a directory that counts here
	sessionFailed                      // the store could not say
	sessionForeign                     // live, of a directory that does not count here
	sessionOverdue                     // live, of an account that nobody could look at for too long
)

// facts are what the gate knows of a request when it decides.
type facts struct {
	ipAllowed      bool
	methodRefused  bool // TRACE, and CONNECT for anything but a WebSocket
	public         bool // under a public line, and no require line
	trustPreflight bool // a CORS preflight of a listed origin
	session        sessionState

	// Of a request that changes something or leaves HTTP for a WebSocket.
	unsafe, upgrade bool
	originAllowed   bool
	tokenShown      bool

	// Of the groups.
	inSiteGroups    bool // the line of the handler itself is met
	inRequireGroups bool // every require line that covers the path is met
	pathAmbiguous   bool

	stale bool // the sign-in is longer ago than the handler allows
}

// decide is the gate. The order is the wire contract's: what costs least to
// refuse first, and nothing about a path is told to somebody without a session.
func decide(f facts, csrf string) (verdict, code) {
	switch {
	case !f.ipAllowed:
		return forbid, codeIPNotAllowed
	case f.methodRefused:
		return forbid, codeMethodNotAllowed
	case f.public:
		return allowPublic, ""
	case f.trustPreflight:
		return preflight, ""
	}

	switch f.session {
	case sessionFailed:
		return unavailable, codeStoreUnavailable
	case sessionOverdue:
		return unavailable, codeDirectoryUnavailable
	case sessionNone:
		return signIn, codeAuthenticationRequired
	}

	switch {
	case f.upgrade && !f.originAllowed:
		return forbid, codeOriginNotTrusted
	case f.unsafe && csrf != csrfOff && !f.originAllowed:
		return forbid, codeOriginNotTrusted
	case f.unsafe && csrf == csrfToken && !f.tokenShown:
		return forbid, codeCSRFFailed
	}

	switch {
	case f.session == sessionForeign, !f.inSiteGroups:
		return forbid, codeGroupRequired
	case !f.inRequireGroups && f.pathAmbiguous:
		return forbid, codePathAmbiguous
	case !f.inRequireGroups:
		return forbid, codeGroupRequired
	case f.stale:
		// Last: who may not go there is not asked for a password.
		return forbid, codeReauthenticationRequired
	}
	return allow, ""
}
