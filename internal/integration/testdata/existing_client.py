"""The Python client of existing systems, step by step.

It knows a user name, a password and a site, speaks with it through one
requests.Session, and sends nothing that such clients do not send: no token and
no cookie at sign-in, no Origin, no Referer.

    existing_client.py <base URL> <user name> <user, as the site calls them>

The password comes on standard input. Every check that fails is printed; the
exit status is their number.
"""

import sys

import requests


class Client:
    def __init__(self, base, username, password):
        self.base = base
        self.username = username
        self.password = password
        self.session = requests.Session()
        self.token = None

    def login(self):
        answer = self.session.post(
            self.base + "/accounts/login/",
            data={"username": self.username, "password": self.password},
            allow_redirects=True,
            timeout=30,
        )
        if answer.status_code != 200:
            return False
        # Once: the client keeps it as long as the session. Two cookies of this
        # name would raise CookieConflictError.
        self.token = self.session.cookies.get("csrftoken")
        return True

    def call(self, method, path, **options):
        if method not in ("GET", "HEAD"):
            options.setdefault("headers", {"X-CSRFToken": self.token})
        return self.session.request(method, self.base + path, timeout=30, **options)


failures = 0


def check(what, good, *details):
    global failures
    if not good:
        failures += 1
        print("FAILED:", what, *details)


def main():
    base, username, user = sys.argv[1:]
    password = sys.stdin.read()

    stranger = Client(base, username, "una-clave-que-no-es")
    check("a wrong password is no sign-in", stranger.login() is False)
    answer = stranger.session.post(
        base + "/api/login-ldap/", json={"username": username, "password": "una-clave-que-no-es"}, timeout=30
    )
    check("JSON, wrong password", answer.status_code == 401, answer.status_code)
    check("its message", answer.json()["message"] == "Credenciales inválidas", answer.text)
    try:
        answer.raise_for_status()
        check("raise_for_status raises", False)
    except requests.HTTPError:
        pass
    answer = stranger.call("GET", "/api/equipos/")
    check("nothing without a session", answer.status_code == 401, answer.status_code)
    check("where to sign in", answer.json()["redirect"] == "/accounts/login/", answer.text)

    client = Client(base, username, password)
    check("form sign-in", client.login())
    check("the token is in the jar", client.token is not None and len(client.token) == 32)
    names = sorted(cookie.name for cookie in client.session.cookies)
    check("its cookies", names == ["csrftoken", "ldap_device", "sessionid"], names)
    session = client.session.cookies.get("sessionid")

    for path in ("/api/equipos/", "/operaciones/api/estadisticas/"):
        answer = client.call("GET", path)
        check("GET " + path, answer.status_code == 200, answer.status_code, answer.text)
        check("who it is for", answer.json().get("usuario") == user, answer.text)
    for method in ("POST", "PUT", "DELETE"):
        answer = client.call(method, "/operaciones/api/ptes/", json={"nombre": "Señal"})
        check(method, answer.status_code == 200, answer.status_code, answer.text)
        check("who it is for", answer.json().get("usuario") == user, answer.text)
        sent = {name.lower() for name in answer.request.headers}
        check("neither Origin nor Referer was sent", not sent & {"origin", "referer"}, sent)
        answer = client.call(method, "/operaciones/api/ptes/", json={}, headers={})
        check(method + " without the token", answer.status_code == 403, answer.status_code)
        answer = client.call(method, "/operaciones/api/ptes/", json={}, headers={"X-CSRFToken": "e" * 32})
        check(method + " with another token", answer.status_code == 403, answer.status_code)
    answer = client.call("POST", "/operaciones/api/ptes/", data={"csrfmiddlewaretoken": client.token}, headers={})
    check("the token as a form field", answer.status_code == 200, answer.status_code)

    check("the token is still the only one", client.session.cookies.get("csrftoken") == client.token)
    check("and the session the same", client.session.cookies.get("sessionid") == session)

    other = requests.Session()
    answer = other.post(base + "/api/login-ldap/", json={"username": username, "password": password}, timeout=30)
    check("JSON sign-in", answer.status_code == 200 and answer.json()["status"] == "ok", answer.text)
    answer = other.get(base + "/api/equipos/", timeout=30)
    check("GET after it", answer.status_code == 200, answer.status_code)

    check("sign-out", client.call("GET", "/api/logout/").json()["status"] == "ok")
    check("the session cookie is gone", client.session.cookies.get("sessionid") is None)
    check("nothing after it", client.call("GET", "/api/equipos/").status_code == 401)
    answer = requests.get(base + "/api/equipos/", cookies={"sessionid": session}, timeout=30)
    check("nothing with the old cookie", answer.status_code == 401, answer.status_code)
    answer = other.get(base + "/api/equipos/", timeout=30)
    check("the other session lives", answer.status_code == 200, answer.status_code)
    check("signing in again", client.login() and client.call("GET", "/api/equipos/").status_code == 200)


main()
sys.exit(min(failures, 100))
