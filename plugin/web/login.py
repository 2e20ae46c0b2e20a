"""Signing in with the token, and out."""

from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import Forbidden

from plugin.web.access import SAME_SITE, Access, check_form

LONGEST_TOKEN: Final = 512


class Login:
    """The form, and what it sends."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def blueprint(self) -> Blueprint:
        """Return the routes."""
        routes = Blueprint("login", __name__)
        routes.add_url_rule("/login", "form", self.form)
        routes.add_url_rule("/login", "enter", self.enter, methods=["POST"])
        routes.add_url_rule("/logout", "leave", self.leave, methods=["POST"])
        return routes

    def form(self) -> ResponseReturnValue:
        """Show the form."""
        return self._page(wrong=False)

    def enter(self) -> ResponseReturnValue:
        """Sign in and go back to where the visitor came from."""
        if request.headers.get("Sec-Fetch-Site") not in SAME_SITE:
            raise Forbidden("The form came from another site.")
        token = request.form.get("token", "").strip()[:LONGEST_TOKEN]
        if self._access.sign_in(token):
            return redirect(_inside(request.form.get("next", "")), HTTPStatus.SEE_OTHER)
        return self._page(wrong=True), HTTPStatus.UNAUTHORIZED

    def leave(self) -> ResponseReturnValue:
        """Sign out."""
        check_form()
        self._access.sign_out()
        return redirect(url_for("dashboard.show"), HTTPStatus.SEE_OTHER)

    def _page(self, *, wrong: bool) -> str:
        back = request.values.get("next", "")
        return render_template(
            "status/login.html",
            wrong=wrong,
            back=_inside(back),
            has_token=self._access.has_token,
        )


def _inside(target: str) -> str:
    """Return a path of this site; the first page for anything else."""
    parts = urlsplit(target.replace("\\", "/"))
    is_path = not parts.scheme and not parts.netloc and parts.path.startswith("/")
    plain = target.isprintable() and not parts.path.startswith("//")
    return target if is_path and plain else url_for("dashboard.show")
