package pages

func french() texts {
	return texts{
		"title.sign_in":        "Connexion",
		"title.signed_in":      "Session déjà ouverte",
		"title.signed_out":     "Session fermée",
		"title.forbidden":      "Accès refusé",
		"title.https_required": "Une connexion sécurisée est nécessaire",
		"title.unavailable":    "Service indisponible",
		"title.refused":        "Requête non acceptée",

		"error":           "Erreur\u00a0:",
		"field.username":  "Nom d’utilisateur",
		"field.password":  "Mot de passe",
		"button.sign_in":  "Se connecter",
		"button.sign_out": "Se déconnecter",
		"link.continue":   "Continuer",
		"link.password":   "Changer ou réinitialiser le mot de passe",
		"link.sign_in":    "Se connecter",
		"link.switch":     "Changer d’utilisateur",
		"signed_in_as":    "Session ouverte en tant que {user}.",
		"signed_out":      "Votre session sur ce site est fermée. Sur un ordinateur partagé, fermez aussi le navigateur.",

		"code.invalid_credentials":     "Le nom d’utilisateur ou le mot de passe est incorrect.",
		"code.csrf_failed":             "Il n’a pas été possible de vérifier que la requête provenait de ce site\u00a0; rien n’a donc été fait. Ouvrez de nouveau la page et réessayez.",
		"code.origin_not_trusted":      "La requête provenait d’un site qui n’est pas approuvé\u00a0; rien n’a donc été fait.",
		"code.ip_not_allowed":          "L’utilisation de ce site n’est pas autorisée depuis votre adresse réseau.",
		"code.group_required":          "Votre compte n’appartient à aucun groupe ayant accès à cette page. Si vous pensez que vous devriez y avoir accès, adressez-vous à votre administrateur.",
		"code.path_ambiguous":          "L’adresse contient des caractères qui peuvent être lus de plusieurs façons. Veuillez la vérifier.",
		"code.https_required":          "Cette page a été ouverte sans chiffrement (http://) et d’autres personnes pourraient lire votre mot de passe. Utilisez une adresse qui commence par https://.",
		"code.directory_unavailable":   "L’annuaire des utilisateurs ne répond pas et il n’est pas possible de se connecter pour le moment. Veuillez réessayer dans quelques minutes.",
		"code.store_unavailable":       "Le service des sessions ne répond pas. Veuillez réessayer dans quelques minutes.",
		"code.method_not_allowed":      "Cette adresse n’accepte pas ce type de requête.",
		"code.body_too_large":          "Les données envoyées dépassent la taille que ce site accepte.",
		"code.unsupported_media_type":  "Les données ont été envoyées dans un format que ce site n’accepte pas.",
		"code.invalid_json":            "Les données envoyées n’ont pas pu être lues.",
		"code.authentication_required": "Votre session est terminée\u00a0; ce que vous avez envoyé n’a donc pas été traité. Veuillez vous reconnecter.",
		"code.other":                   "La requête n’a pas pu être traitée.",
	}
}
