package pages

func spanish() texts {
	return texts{
		"title.sign_in":        "Iniciar sesión",
		"title.signed_in":      "Ya ha iniciado sesión",
		"title.signed_out":     "Sesión cerrada",
		"title.forbidden":      "Acceso denegado",
		"title.https_required": "Se necesita una conexión segura",
		"title.unavailable":    "Servicio no disponible",
		"title.refused":        "Solicitud no admitida",

		"error":           "Error:",
		"field.username":  "Usuario",
		"field.password":  "Contraseña",
		"button.sign_in":  "Iniciar sesión",
		"button.sign_out": "Cerrar sesión",
		"link.continue":   "Continuar",
		"link.password":   "Cambiar o restablecer la contraseña",
		"link.sign_in":    "Iniciar sesión",
		"link.switch":     "Cambiar de usuario",
		"signed_in_as":    "Ha iniciado sesión como {user}.",
		"signed_out":      "Su sesión en este sitio se ha cerrado. En un equipo compartido, cierre también el navegador.",

		"code.invalid_credentials":     "El usuario o la contraseña no son correctos.",
		"code.csrf_failed":             "No se pudo comprobar que la solicitud viniera de este sitio, así que no se hizo nada. Vuelva a abrir la página e inténtelo de nuevo.",
		"code.origin_not_trusted":      "La solicitud llegó desde un sitio que no es de confianza, así que no se hizo nada.",
		"code.ip_not_allowed":          "No se permite usar este sitio desde su dirección de red.",
		"code.group_required":          "Su cuenta no pertenece a ningún grupo con acceso a esta página. Si cree que debería tenerlo, diríjase a su administrador.",
		"code.path_ambiguous":          "La dirección contiene caracteres que se pueden interpretar de varias maneras. Compruébela.",
		"code.https_required":          "Esta página se abrió sin cifrar (http://) y otras personas podrían leer su contraseña. Use una dirección que empiece por https://.",
		"code.directory_unavailable":   "El directorio de usuarios no responde y por ahora no es posible iniciar sesión. Inténtelo de nuevo dentro de unos minutos.",
		"code.store_unavailable":       "El servicio de sesiones no responde. Inténtelo de nuevo dentro de unos minutos.",
		"code.method_not_allowed":      "Esta dirección no admite este tipo de solicitud.",
		"code.body_too_large":          "Se enviaron más datos de los que este sitio admite.",
		"code.unsupported_media_type":  "Los datos se enviaron en un formato que este sitio no admite.",
		"code.invalid_json":            "No se pudieron leer los datos enviados.",
		"code.authentication_required": "Su sesión ha terminado, así que no se procesó lo que envió. Inicie sesión de nuevo.",
		"code.other":                   "No se pudo atender la solicitud.",
	}
}
