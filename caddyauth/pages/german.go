package pages

func german() texts {
	return texts{
		"title.sign_in":        "Anmelden",
		"title.signed_in":      "Sie sind bereits angemeldet",
		"title.signed_out":     "Abgemeldet",
		"title.forbidden":      "Zugriff verweigert",
		"title.https_required": "Sichere Verbindung erforderlich",
		"title.unavailable":    "Dienst nicht verfügbar",
		"title.refused":        "Anfrage nicht angenommen",

		"error":           "Fehler:",
		"field.username":  "Benutzername",
		"field.password":  "Passwort",
		"button.sign_in":  "Anmelden",
		"button.sign_out": "Abmelden",
		"link.continue":   "Weiter",
		"link.password":   "Passwort ändern oder zurücksetzen",
		"link.sign_in":    "Anmelden",
		"link.switch":     "Benutzer wechseln",
		"signed_in_as":    "Sie sind als {user} angemeldet.",
		"signed_out":      "Ihre Sitzung auf dieser Website ist beendet. Schließen Sie auf einem gemeinsam genutzten Gerät auch den Browser.",

		"code.invalid_credentials":     "Der Benutzername oder das Passwort ist nicht korrekt.",
		"code.csrf_failed":             "Es konnte nicht geprüft werden, ob die Anfrage von dieser Website kam. Deshalb wurde nichts ausgeführt. Öffnen Sie die Seite erneut und versuchen Sie es noch einmal.",
		"code.origin_not_trusted":      "Die Anfrage kam von einer nicht vertrauenswürdigen Website. Deshalb wurde nichts ausgeführt.",
		"code.ip_not_allowed":          "Diese Website darf von Ihrer Netzwerkadresse aus nicht genutzt werden.",
		"code.group_required":          "Ihr Konto gehört zu keiner Gruppe mit Zugriff auf diese Seite. Wenn Sie Zugriff haben sollten, wenden Sie sich bitte an Ihre Administration.",
		"code.path_ambiguous":          "Die Adresse enthält Zeichen, die sich auf mehrere Arten lesen lassen. Bitte prüfen Sie sie.",
		"code.https_required":          "Diese Seite wurde unverschlüsselt (http://) geöffnet; andere könnten Ihr Passwort mitlesen. Verwenden Sie eine Adresse, die mit https:// beginnt.",
		"code.directory_unavailable":   "Das Benutzerverzeichnis antwortet nicht; eine Anmeldung ist zurzeit nicht möglich. Bitte versuchen Sie es in einigen Minuten erneut.",
		"code.store_unavailable":       "Der Sitzungsdienst antwortet nicht. Bitte versuchen Sie es in einigen Minuten erneut.",
		"code.method_not_allowed":      "Diese Adresse nimmt diese Art von Anfrage nicht an.",
		"code.body_too_large":          "Es wurden mehr Daten gesendet, als diese Website annimmt.",
		"code.unsupported_media_type":  "Die Daten wurden in einem Format gesendet, das diese Website nicht annimmt.",
		"code.invalid_json":            "Die gesendeten Daten konnten nicht gelesen werden.",
		"code.authentication_required": "Ihre Sitzung ist beendet. Deshalb wurde nicht verarbeitet, was Sie gesendet haben. Bitte melden Sie sich erneut an.",
		"code.other":                   "Die Anfrage konnte nicht bearbeitet werden.",
	}
}
