package caddyauth

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/caddyauth/caddy-ldap/caddyauth/pages"
)

// code is the machine-readable reason of a refusal. The list is closed: clients
// branch on it.
type code string

const (
	codeAuthenticationRequired   code = "authentication_required"
	codeInvalidCredentials       code = "invalid_credentials"
	codeInvalidJSON              code = "invalid_json"
	codeUnsupportedMediaType     code = "unsupported_media_type"
	codeBodyTooLarge             code = "body_too_large"
	codeMethodNotAllowed         code = "method_not_allowed"
	codePasswordExpired          code = "password_expired"
	codePasswordMustChange       code = "password_must_change"
	codeAccountRestricted        code = "account_restricted"
	codeTooManyAttempts          code = "too_many_attempts"
	codeHTTPSRequired            code = "https_required"
	codeCSRFFailed               code = "csrf_failed"
	codeOriginNotTrusted         code = "origin_not_trusted"
	codeIPNotAllowed             code = "ip_not_allowed"
	codeGroupRequired            code = "group_required"
	codePathAmbiguous            code = "path_ambiguous"
	codeReauthenticationRequired code = "reauthentication_required"
	codeDirectoryUnavailable     code = "directory_unavailable"
	codeStoreUnavailable         code = "store_unavailable"
)

// retryAfter, in seconds, goes with every 503.
const retryAfter = "5"

// refusal is what one code looks like on the wire. error is for gated paths,
// message for the sign-in routes; neither is ever translated.
type refusal struct {
	status         int
	error, message string
}

// refusalOf returns the wire form of a code.
func refusalOf(c code) refusal {
	switch c {
	case codeAuthenticationRequired:
		return refusal{http.StatusUnauthorized, "Authentication required", "Autenticación requerida"}
	case codeInvalidCredentials:
		return refusal{http.StatusUnauthorized, "Invalid credentials", "Credenciales inválidas"}
	case codeInvalidJSON:
		return refusal{http.StatusBadRequest, "Invalid JSON", "Formato JSON inválido"}
	case codeUnsupportedMediaType:
		return refusal{http.StatusUnsupportedMediaType, "Unsupported media type", "Tipo de contenido no admitido"}
	case codeBodyTooLarge:
		return refusal{http.StatusRequestEntityTooLarge, "Body too large", "Cuerpo de la solicitud demasiado grande"}
	case codeMethodNotAllowed:
		return refusal{http.StatusMethodNotAllowed, "Method not allowed", "Método no permitido"}
	case codePasswordExpired:
		return refusal{http.StatusForbidden, "Password expired", "Contraseña caducada"}
	case codePasswordMustChange:
		return refusal{http.StatusForbidden, "Password must be changed", "Se requiere cambiar la contraseña"}
	case codeAccountRestricted:
		return refusal{http.StatusForbidden, "This account cannot sign in. Contact support", "Esta cuenta no puede iniciar sesión. Contacte con soporte"}
	case codeTooManyAttempts:
		return refusal{http.StatusTooManyRequests, "Too many attempts", "Demasiados intentos"}
	case codeHTTPSRequired:
		return refusal{http.StatusForbidden, "HTTPS required", "Se requiere HTTPS"}
	case codeCSRFFailed:
		return refusal{http.StatusForbidden, "CSRF verification failed", "Verificación CSRF fallida"}
	case codeOriginNotTrusted:
		return refusal{http.StatusForbidden, "Origin not trusted", "Origen no autorizado"}
	case codeIPNotAllowed:
		return refusal{http.StatusForbidden, "IP address not allowed", "Acceso denegado: Dispositivo no autorizado."}
	case codeGroupRequired:
		return refusal{http.StatusForbidden, "Group required", "Se requiere pertenecer a un grupo"}
	case codePathAmbiguous:
		return refusal{http.StatusForbidden, "Ambiguous path", "Ruta ambigua"}
	case codeReauthenticationRequired:
		return refusal{http.StatusForbidden, "Reauthentication required", "Se requiere iniciar sesión de nuevo"}
	case codeDirectoryUnavailable:
		return refusal{http.StatusServiceUnavailable, "Directory unavailable", "Directorio no disponible"}
	case codeStoreUnavailable:
		return refusal{http.StatusServiceUnavailable, "Session store unavailable", "Almacén de sesiones no disponible"}
	}
	return refusal{http.StatusForbidden, "Forbidden", "Prohibido"}
}

// gateRefusal and signInRefusal are the two shapes of a refusal's JSON. Existing
// clients look at error and redirect on gated paths, at status and message on
// the sign-in routes.
type (
	gateRefusal struct {
		Error    string `json:"error"`
		Redirect string `json:"redirect,omitempty"`
		Code     code   `json:"code"`
	}
	signInRefusal struct {
		Status      string `json:"status"`
		Message     string `json:"message"`
		Code        code   `json:"code"`
		Detail      string `json:"detail,omitempty"`
		PasswordURL string `json:"password_url,omitempty"`
	}
)

// refuseGate answers a request to a gated path.
func (s *site) refuseGate(w http.ResponseWriter, r *http.Request, q *request, c code) error {
	metrics.refused(c)
	wire := refusalOf(c)
	s.prepareRefusal(w, r, q, wire.status)
	if wantsPage(r) && !isUpgrade(r) {
		page := s.gatePage(r, q, c)
		if target := q.original.RequestURI(); isNavigation(r) && isLocalTarget(target) {
			page.Next = target // whoever switches user comes back here
		}
		return s.writePage(w, r, q, wire.status, page)
	}
	body := gateRefusal{Error: wire.error, Code: c}
	if c == codeAuthenticationRequired || c == codeReauthenticationRequired {
		body.Redirect = s.pathsOf(q).page
	}
	return writeJSON(w, wire.status, body)
}

// gatePage chooses the page of a refusal on a gated path.
func (s *site) gatePage(r *http.Request, q *request, c code) pages.Page {
	if c != codeReauthenticationRequired {
		return refusalPage(c)
	}
	if !s.policy.secureEnough(r, q) {
		return refusalPage(codeHTTPSRequired) // its form would have a password cross the network readable
	}
	page := refusalPage(c)
	page.Username = q.session.User.Username
	if paths := s.pathsOf(q); paths.route(q.original) == sessionsRoute {
		page.Next = paths.sessions // also after a POST: the list, not what was to end
	}
	return page
}

// refuseSignIn answers a request to one of the sign-in routes. message, unless
// empty, replaces the code's own. What the page says beyond the code the JSON
// has in keys of their own: the bytes of a message are fixed.
func (s *site) refuseSignIn(w http.ResponseWriter, r *http.Request, q *request, c code, message string, page pages.Page) error {
	metrics.refused(c)
	wire := refusalOf(c)
	s.prepareRefusal(w, r, q, wire.status)
	if s.answersWithPage(r) {
		return s.writePage(w, r, q, wire.status, page)
	}
	if message == "" {
		message = wire.message
	}
	return writeJSON(w, wire.status, signInRefusal{
		Status: "error", Message: message, Code: c, Detail: page.Detail, PasswordURL: page.PasswordURL,
	})
}

// prepareRefusal queues what every refusal carries beside its body.
func (s *site) prepareRefusal(w http.ResponseWriter, r *http.Request, q *request, status int) {
	q.forgetStale(r.Context())
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfter)
	}
}

// refusalPage chooses the page that explains a code.
func refusalPage(c code) pages.Page {
	page := pages.Page{Code: string(c)}
	switch c {
	case codeHTTPSRequired:
		page.Kind = pages.HTTPSRequired
	case codeDirectoryUnavailable, codeStoreUnavailable:
		page.Kind = pages.Unavailable
	case codeCSRFFailed, codeOriginNotTrusted, codeIPNotAllowed, codeGroupRequired, codePathAmbiguous:
		page.Kind = pages.Forbidden
	case codeReauthenticationRequired:
		page.Kind = pages.Reauthenticate
	case codeAuthenticationRequired:
		page.Kind = pages.SessionEnded
	default:
		page.Kind = pages.Refused
	}
	return page
}

// writeJSON writes one of our own JSON answers.
func writeJSON(w http.ResponseWriter, status int, body any) error {
	var buf bytes.Buffer
	encoder := json.NewEncoder(&buf)
	if err := encoder.Encode(body); err != nil {
		return err
	}
	text := bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	addVary(h, "Cookie")
	w.WriteHeader(status)
	_, _ = w.Write(text)
	return nil
}
