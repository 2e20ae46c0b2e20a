"""Every request is judged here before a view sees it: its host, then its sender."""

import hmac
from typing import Final
from urllib.parse import quote, urlsplit

from flask import Flask, g, redirect, request, session, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import BadRequest, Forbidden, TooManyRequests, Unauthorized

from plugin.web.sessions import Sessions
from plugin.web.settings import LOCAL_NAMES, HttpConfig, digest, parse_ip
from plugin.web.slowdown import Slowdown
from plugin.web.visitor import Standing, Visitor

SESSION_NAME: Final = "id"
OPEN_ENDPOINTS: Final = frozenset(
    {"static", "login.form", "login.enter", "health.healthz", "health.readyz"}
)
"""What anybody who reaches the port may ask for; it tells nothing of any study."""
MACHINE_ENDPOINTS: Final = frozenset({"metrics.metrics"})
FORWARDED: Final = ("Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via")
SAME_SITE: Final = (None, "same-origin", "none")


class Access:
    """Who may see and change what, by the configuration."""

    def __init__(self, config: HttpConfig, sessions: Sessions, slow: Slowdown) -> None:
        self._config = config
        self._sessions = sessions
        self._slow = slow
        self._names = LOCAL_NAMES | {config.address} | set(config.hosts)

    def guard(self, app: Flask) -> None:
        """Judge every request of an app before its view."""
        app.before_request(self._judge)
        app.context_processor(lambda: {"visitor": visitor()})

    def sign_in(self, token: str) -> bool:
        """Open a browser's session if the token is right; TooManyRequests if soon."""
        if not self._is_token(token):
            return False
        session.clear()
        session[SESSION_NAME] = self._sessions.open()
        return True

    def sign_out(self) -> None:
        """End this browser's session."""
        self._sessions.close(str(session.get(SESSION_NAME, "")))
        session.clear()

    @property
    def has_token(self) -> bool:
        """Whether anybody could sign in at all."""
        return bool(self._config.token_sha256)

    def _judge(self) -> ResponseReturnValue | None:
        """Return the way to the login for who may not read; None for who may."""
        self._check_host()
        g.visitor = self._identify()
        if request.endpoint in OPEN_ENDPOINTS or visitor().may_read:
            return None
        if is_for_machines():
            raise _unauthorised("a Bearer token is needed")
        back = quote(request.full_path.rstrip("?")) if request.method == "GET" else "/"
        return redirect(f"{url_for('login.form')}?next={back}", 303)

    def _check_host(self) -> None:
        """Refuse names that are not ours: a page elsewhere may point its own at us.

        An address cannot be pointed elsewhere, so any is taken.
        """
        name = _host_name(request.headers.get("Host", ""))
        if name not in self._names and parse_ip(name) is None:
            raise BadRequest(
                "This name is not configured. Open the page by its address, or add the "
                "name to hosts in the section [http]."
            )

    def _identify(self) -> Visitor:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            if not self._is_token(token.strip()):
                raise _unauthorised("the token is wrong")
            return Visitor(Standing.OPERATOR)
        csrf = self._sessions.csrf(str(session.get(SESSION_NAME, "")))
        if csrf is not None:
            return Visitor(Standing.OPERATOR, csrf)
        header, config = self._config.proxy_user_header, self._config
        if (
            header
            and config.is_proxy(request.remote_addr)
            and request.headers.get(header)
        ):
            return Visitor(Standing.KNOWN)
        return Visitor(Standing.READER if self._is_here() else Standing.NOBODY)

    def _is_here(self) -> bool:
        """Tell whether the sender is on this machine and speaks for itself."""
        config, peer = self._config, parse_ip(request.remote_addr)
        return (
            config.is_local
            and not config.has_proxy
            and peer is not None
            and peer.is_loopback
            and _host_name(request.headers.get("Host", "")) in LOCAL_NAMES
            and not any(name in request.headers for name in FORWARDED)
        )

    def _is_token(self, token: str) -> bool:
        """Compare in constant time; a sender that failed often has to wait."""
        address = self._sender()
        wait_s = self._slow.wait_s(address)
        if wait_s > 0:
            raise TooManyRequests("Too many wrong tokens.", retry_after=int(wait_s) + 1)
        expected = self._config.token_sha256
        if expected and hmac.compare_digest(digest(token), expected):
            self._slow.passed(address)
            return True
        self._slow.failed(address)
        return False

    def _sender(self) -> str | None:
        """Return the address that failures count for, as a trusted proxy tells it."""
        if not self._config.is_proxy(request.remote_addr):
            return request.remote_addr
        told = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
        return told or request.remote_addr


def visitor() -> Visitor:
    """Return who sent the present request."""
    found: Visitor = g.get("visitor") or Visitor(Standing.NOBODY)
    return found


def check_form() -> None:
    """Refuse a form that a signed-in browser did not get from us."""
    asker = visitor()
    if not asker.is_signed_in:
        raise Forbidden("Sign in with the token to change anything.")
    if request.headers.get("Sec-Fetch-Site") not in SAME_SITE:
        raise Forbidden("The form came from another site.")
    if not hmac.compare_digest(
        request.form.get("csrf", "").encode(), asker.csrf.encode()
    ):
        raise Forbidden("The form is too old. Go back, reload the page, try again.")


def check_bearer() -> None:
    """Refuse a change over the API by anything but a Bearer token.

    A browser adds cookies by itself, also to another site's request, but no token.
    """
    if not visitor().may_change or visitor().csrf:
        raise _unauthorised("a change needs the token in an Authorization header")


def is_for_machines() -> bool:
    """Tell whether a program asks, so that answers and errors are no pages."""
    return request.path.startswith("/api/") or request.endpoint in MACHINE_ENDPOINTS


def _unauthorised(why: str) -> Unauthorized:
    return Unauthorized(why, www_authenticate=WWWAuthenticate("bearer"))


def _host_name(header: str) -> str:
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""
