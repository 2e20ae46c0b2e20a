"""Signing in with the token, and out."""

import re
from http import HTTPStatus
from typing import Final

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import Forbidden

from plugin.web.access import SAME_SITE, Access, check_form

PATH: Final = re.compile(r"/([^/\\].*)?")
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
            return redirect(self._way_back(), HTTPStatus.SEE_OTHER)
        return self._page(wrong=True), HTTPStatus.UNAUTHORIZED

    def leave(self) -> ResponseReturnValue:
        """Sign out."""
        check_form()
        self._access.sign_out()
        return redirect(url_for("dashboard.show"), HTTPStatus.SEE_OTHER)

    def _way_back(self) -> str:
        first = url_for("dashboard.show")
        return inside(request.values.get("next", ""), otherwise=first)

    def _page(self, *, wrong: bool) -> str:
        return render_template(
            "status/login.html",
            wrong=wrong,
            back=self._way_back(),
            has_token=self._access.has_token,
        )


def inside(target: str, *, otherwise: str) -> str:
    """Return a path of this site, ``otherwise`` for anything else.

    Two slashes of either kind would begin another site's name.
    """
    is_path = PATH.fullmatch(target) and target.isprintable()
    return target if is_path else otherwise
