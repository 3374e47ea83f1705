package pages

func english() texts {
	return texts{
		"title.sign_in":        "Sign in",
		"title.signed_in":      "You are already signed in",
		"title.signed_out":     "Signed out",
		"title.forbidden":      "Access denied",
		"title.https_required": "A secure connection is needed",
		"title.unavailable":    "Service unavailable",
		"title.refused":        "Request not accepted",

		"error":           "Error:",
		"field.username":  "Username",
		"field.password":  "Password",
		"button.sign_in":  "Sign in",
		"button.sign_out": "Sign out",
		"link.continue":   "Continue",
		"link.password":   "Change or reset the password",
		"link.sign_in":    "Sign in",
		"link.switch":     "Switch user",
		"signed_in_as":    "You are signed in as {user}.",
		"signed_out":      "Your session on this site has ended. On a shared computer, close the browser as well.",

		"code.invalid_credentials":     "The username or the password is not correct.",
		"code.csrf_failed":             "It could not be verified that the request came from this site, so nothing was done. Open the page again and retry.",
		"code.origin_not_trusted":      "The request came from a site that is not trusted, so nothing was done.",
		"code.ip_not_allowed":          "This site may not be used from your network address.",
		"code.group_required":          "Your account is not in any group with access to this page. If you think it should be, please contact your administrator.",
		"code.path_ambiguous":          "The address contains characters that can be read in more than one way. Please check it.",
		"code.https_required":          "This page was opened without encryption (http://), and others could read your password. Use an address that starts with https://.",
		"code.directory_unavailable":   "The user directory is not responding, so signing in is not possible right now. Please try again in a few minutes.",
		"code.store_unavailable":       "The session service is not responding. Please try again in a few minutes.",
		"code.method_not_allowed":      "This address does not accept this kind of request.",
		"code.body_too_large":          "More data was sent than this site accepts.",
		"code.unsupported_media_type":  "The data was sent in a format that this site does not accept.",
		"code.invalid_json":            "The data that was sent could not be read.",
		"code.authentication_required": "Your session has ended, so what you sent was not processed. Please sign in again.",
		"code.other":                   "The request could not be handled.",
	}
}
