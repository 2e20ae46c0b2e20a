"""The first page."""

from typing import Final

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from plugin.jobs import State
from plugin.web.fresh import Fresh
from plugin.web.overview import Overview, overview
from plugin.web.records import STAGES
from plugin.web.rows import row_of
from plugin.web.source import StatusSource
from plugin.web.versions import versions
from plugin.web.words import many

KEEP_S: Final = 1.0


class Dashboard:
    """The route of the first page; what it shows is at most a second old."""

    def __init__(self, source: StatusSource) -> None:
        self._source = source
        self._overview = Fresh(lambda: overview(source), keep_s=KEEP_S)

    def blueprint(self) -> Blueprint:
        """Return the routes."""
        routes = Blueprint("dashboard", __name__)
        routes.add_url_rule("/", "show", self.show)
        return routes

    def forget(self) -> None:
        """Show the next visitor what is so then: something was changed here."""
        self._overview.drop()

    def show(self) -> ResponseReturnValue:
        """Show the service at a glance."""
        found = self._overview()
        return render_template(
            "status/dashboard.html",
            found=found,
            headline=headline(found),
            failing=[check for check in found.checks if not check.is_ok],
            row_of=row_of,
            stages=STAGES,
            states=list(State),
            now=self._source.clock().at,
            versions=versions(),
        )


def headline(found: Overview) -> str:
    """Return the state of the service in one sentence."""
    failing = [check.name for check in found.checks if not check.is_ok]
    if failing:
        return (
            f"Not ready: {_joined(failing)} {'fails' if len(failing) == 1 else 'fail'}."
        )
    depth = found.depth
    if depth.running:
        is_ = "is" if depth.running == 1 else "are"
        return f"{many(depth.running, 'study')} {is_} being segmented{_waiting(found)}."
    if depth.queued or depth.incoming:
        return f"{many(depth.queued + depth.incoming, 'study')} waiting."
    return "Ready, and nothing waits."


def _waiting(found: Overview) -> str:
    count = found.depth.queued + found.depth.incoming
    return f", {count:,} waiting" if count else ""


def _joined(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
