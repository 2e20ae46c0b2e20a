"""The HTTP status of the service: pages, JSON and metrics over one work folder.

``create_app`` needs nothing but a queue, so the pages also open beside a service that
is down. ``StatusServer`` puts the app on a port.
"""

import secrets
from typing import Final

from flask import Flask
from jinja2 import StrictUndefined

from plugin.version import VERSION
from plugin.web import filters
from plugin.web.access import Access
from plugin.web.api import Api
from plugin.web.dashboard import Dashboard
from plugin.web.headers import harden
from plugin.web.health import HealthPages
from plugin.web.job_pages import JobPages
from plugin.web.login import Login
from plugin.web.metrics import Metrics
from plugin.web.pictures import Pictures
from plugin.web.problem import report_problems
from plugin.web.project_pages import ProjectPages
from plugin.web.server import BODY_BYTES, StatusServer
from plugin.web.sessions import Sessions
from plugin.web.settings import HttpConfig, read_token
from plugin.web.slowdown import Slowdown
from plugin.web.source import StatusSource

__all__ = ["HttpConfig", "StatusServer", "StatusSource", "create_app", "read_token"]

KEY_BYTES: Final = 32


def create_app(source: StatusSource, config: HttpConfig) -> Flask:
    """Return the app; its browser sessions end with the process."""
    app = _flask(config)
    access = Access(config, Sessions(), Slowdown())
    access.guard(app)
    harden(app, behind_tls=config.behind_tls)
    report_problems(app)
    dashboard = Dashboard(source)
    for pages in (
        dashboard,
        JobPages(source, dashboard.forget),
        Pictures(source.queue),
        Api(source, dashboard.forget),
        ProjectPages(source),
        HealthPages(source),
        Metrics(source),
        Login(access),
    ):
        app.register_blueprint(pages.blueprint())
    return app


def _flask(config: HttpConfig) -> Flask:
    """Return an app without routes, whose templates refuse what is undefined."""
    app = Flask("plugin.status")
    app.config.update(
        SECRET_KEY=secrets.token_bytes(KEY_BYTES),
        SESSION_COOKIE_NAME="__Host-brs" if config.behind_tls else "brs",
        SESSION_COOKIE_SECURE=config.behind_tls,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        MAX_CONTENT_LENGTH=BODY_BYTES,
    )
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters.update(filters.FILTERS)
    app.jinja_env.globals["version"] = VERSION
    return app
