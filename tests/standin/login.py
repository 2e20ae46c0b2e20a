"""Logins: basic, alias token and JSESSIONID, and the routes that give them out."""

import time

from flask import Response, g, jsonify, request

from standin.accounts import GUEST, Token
from standin.refused import Refused, forbidden
from standin.rights import is_admin, require_user, user
from standin.routes import Routes
from standin.state import State

TIMEOUT_MS = 900_000
OPEN = ("/data/services/auth", "/", "/app/template/Login.vm", "/data/version")


routes = Routes()


@routes.before
def who(state: State) -> None:
    """Find out who asks; a login without a session opens one."""
    session = request.cookies.get("JSESSIONID", "")
    g.user, g.session = state.accounts.sessions.get(session, GUEST), session
    login = request.authorization
    if g.user == GUEST and login is not None and login.type == "basic":
        name, secret = login.username or "", login.password or ""
        _open(state, state.accounts.user_of(name, secret), name)
    if g.user == GUEST and state.login_required and request.path not in OPEN:
        raise Refused(401, "The request requires user authentication")


@routes.at("/data/JSESSION", "GET", "POST")
def jsession(state: State) -> Response:
    return _plain(g.session)


@routes.delete("/data/JSESSION")
def logout(state: State) -> Response:
    state.accounts.close(g.session)
    return Response(status=200)


@routes.get("/data/auth")
def auth(state: State) -> Response:
    return _plain(f"User '{user()}' is logged in")


@routes.at("/data/services/auth", "PUT", "POST")
def service(state: State) -> Response:
    """Log in with a form; the body is the JSESSION's id."""
    name, secret = request.form.get("username"), request.form.get("password")
    state.accounts.close(g.session)
    _open(state, state.accounts.user_of(name or "", secret or ""), name or "")
    return _plain(g.session)


@routes.get("/xapi/users/username")
def username(state: State) -> Response:
    return _plain(user())


@routes.get("/data/users")
@routes.get("/xapi/users")
def users(state: State) -> Response:
    return jsonify(sorted(state.accounts.passwords))


@routes.get("/data/services/tokens/issue")
def issue(state: State) -> Response:
    require_user()
    return jsonify(_shown(state.accounts.issue(user())))


@routes.get("/data/services/tokens/issue/user/<name>")
def issue_for(state: State, name: str) -> Response:
    if not is_admin(state):
        raise forbidden()
    return jsonify(_shown(state.accounts.issue(name)))


@routes.get("/data/services/tokens/validate/<alias>/<secret>")
def validate(state: State, alias: str, secret: str) -> Response:
    token = state.accounts.tokens.get(alias)
    if token is None or not token.valid or token.secret != secret:
        return jsonify({})
    return jsonify({"valid": token.user})


@routes.get("/data/services/tokens/invalidate/<alias>")
@routes.get("/data/services/tokens/invalidate/<alias>/<secret>")
def invalidate(state: State, alias: str, secret: str = "") -> Response:
    token = state.accounts.tokens.get(alias)
    if token is None or not (is_admin(state) or token.user == user()):
        raise forbidden()
    state.accounts.expire(alias)
    return Response(status=200)


def _open(state: State, name: str, login: str) -> None:
    g.user = name
    g.session = state.accounts.open(name, login)
    g.opened = True


def _plain(text: str) -> Response:
    return Response(text, mimetype="text/plain")


def _shown(token: Token) -> dict[str, object]:
    expires = int(time.time() * 1000) + 48 * 3600 * 1000
    return {
        "alias": token.alias,
        "secret": token.secret,
        "xdatUserId": token.user,
        "singleUse": False,
        "estimatedExpirationTime": expires,
        "validIPAddresses": [],
    }


def cookies(response: Response) -> Response:
    """Send a session that was just opened, and how long it lasts."""
    if g.get("opened"):
        now = int(time.time() * 1000)
        add = response.headers.add
        add("Set-Cookie", f"JSESSIONID={g.session}; Path=/; HttpOnly")
        expires = f'SESSION_EXPIRATION_TIME="{now},{TIMEOUT_MS}"; Path=/'
        add("Set-Cookie", expires)
    return response
