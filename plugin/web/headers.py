"""Headers by which a browser runs nothing foreign, frames nothing and keeps nothing."""

from typing import Final

from flask import Flask, Response, request

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "style-src 'self'",
        "script-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
ALWAYS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: with it a form's own Origin is sent as "null".
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
STAY_WITH_HTTPS: Final = "max-age=31536000"
CACHED_ENDPOINTS: Final = frozenset(
    {"static", "pictures.preview", "pictures.thumbnail"}
)
"""Style, script, and pictures, which carry no name; all else leaves no copy."""


def harden(app: Flask, *, behind_tls: bool) -> None:
    """Send the headers with every answer, errors included."""

    @app.after_request
    def add(response: Response) -> Response:
        response.headers.update(ALWAYS)
        if request.endpoint not in CACHED_ENDPOINTS or response.status_code >= 400:
            response.headers["Cache-Control"] = "no-store"
        if behind_tls:
            response.headers["Strict-Transport-Security"] = STAY_WITH_HTTPS
        return response
