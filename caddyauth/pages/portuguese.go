package pages

func portuguese() texts {
	return texts{
		"title.sign_in":        "Iniciar sessão",
		"title.signed_in":      "Sessão já iniciada",
		"title.signed_out":     "Sessão encerrada",
		"title.forbidden":      "Acesso negado",
		"title.https_required": "É necessária uma conexão segura",
		"title.unavailable":    "Serviço indisponível",
		"title.refused":        "Solicitação não aceita",

		"error":           "Erro:",
		"field.username":  "Nome de usuário",
		"field.password":  "Senha",
		"button.sign_in":  "Iniciar sessão",
		"button.sign_out": "Encerrar sessão",
		"link.continue":   "Continuar",
		"link.password":   "Alterar ou redefinir a senha",
		"link.sign_in":    "Iniciar sessão",
		"link.switch":     "Trocar de usuário",
		"signed_in_as":    "Sessão iniciada como {user}.",
		"signed_out":      "Sua sessão neste site foi encerrada. Em um computador compartilhado, feche também o navegador.",

		"code.invalid_credentials":     "O nome de usuário ou a senha não estão corretos.",
		"code.csrf_failed":             "Não foi possível verificar se a solicitação veio deste site, por isso nada foi feito. Abra a página novamente e tente outra vez.",
		"code.origin_not_trusted":      "A solicitação veio de um site que não é confiável, por isso nada foi feito.",
		"code.ip_not_allowed":          "Não é permitido usar este site a partir do seu endereço de rede.",
		"code.group_required":          "Sua conta não pertence a nenhum grupo com acesso a esta página. Se acredita que deveria ter acesso, entre em contato com o administrador.",
		"code.path_ambiguous":          "O endereço contém caracteres que podem ser interpretados de mais de uma maneira. Verifique-o.",
		"code.https_required":          "Esta página foi aberta sem criptografia (http://) e outras pessoas poderiam ler sua senha. Use um endereço que comece com https://.",
		"code.directory_unavailable":   "O diretório de usuários não está respondendo e, por enquanto, não é possível iniciar sessão. Tente novamente em alguns minutos.",
		"code.store_unavailable":       "O serviço de sessões não está respondendo. Tente novamente em alguns minutos.",
		"code.method_not_allowed":      "Este endereço não aceita este tipo de solicitação.",
		"code.body_too_large":          "Foram enviados mais dados do que este site aceita.",
		"code.unsupported_media_type":  "Os dados foram enviados em um formato que este site não aceita.",
		"code.invalid_json":            "Não foi possível ler os dados enviados.",
		"code.authentication_required": "Sua sessão terminou, por isso o que foi enviado não foi processado. Inicie sessão novamente.",
		"code.other":                   "Não foi possível atender à solicitação.",
	}
}
