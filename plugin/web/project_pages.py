"""The pages of an archive's project: its annotation queue and its training."""

from http import HTTPStatus
from typing import Any, Final

from flask import Blueprint, Response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest, Forbidden, NotFound, ServiceUnavailable

from plugin.provenance import ROLE_PATTERN, MaskState
from plugin.web.access import check_form, visitor
from plugin.web.annotation import (
    Decision,
    Draft,
    Order,
    Place,
    decide,
    read_draft,
    read_order,
    read_states,
)
from plugin.web.job_pages import page_asked
from plugin.web.project import Project, Reading
from plugin.web.source import StatusSource
from plugin.web.training import read_training

ORDER: Final = "order"
TYPED_ROLE: Final = ROLE_PATTERN.pattern.replace("a-z", "A-Za-z")
DECISIONS: Final = {"accept": True, "reject": False}


class ProjectPages:
    """The routes of the configured archive; without one they say so."""

    def __init__(self, source: StatusSource) -> None:
        self._source = source
        self._project = None if source.archive is None else Project(source.archive)

    def blueprint(self) -> Blueprint:
        """Return the routes."""
        routes = Blueprint("project", __name__)
        add = routes.add_url_rule
        add("/annotation", "annotation", self.annotation)
        add("/annotation/session", "session", self.session)
        add("/annotation/preview.png", "preview", self.preview)
        add("/annotation/decision", "decision", self.decision, methods=["POST"])
        add("/training", "training", self.training)
        return routes

    def annotation(self) -> ResponseReturnValue:
        """Show whom to annotate next, and why; names for the authorised alone."""
        if self._project is None:
            return _without_archive("Annotation")
        order: Reading[Order | None] = self._project.read(ORDER, read_order)
        number = page_asked()
        shown = order.value.on_page(number) if order.value is not None else ()
        return render_template(
            "status/annotation.html",
            reading=order,
            order=order.value,
            number=number,
            places=shown,
            states=self._states(number, shown),
        )

    def session(self) -> ResponseReturnValue:
        """Show one session's draft, to be accepted or rejected."""
        place = self._place()
        draft = self._draft(place)
        return render_template(
            "status/session.html",
            place=place,
            reading=draft,
            draft=draft.value,
            may_decide=_may_decide(draft.value),
            role_pattern=TYPED_ROLE,
        )

    def preview(self) -> ResponseReturnValue:
        """Send the preview of one session's draft."""
        draft = self._draft(self._place()).value
        if draft is None or draft.preview is None:
            raise NotFound("This session has no preview.")
        return Response(draft.preview, mimetype="image/png")

    def decision(self) -> ResponseReturnValue:
        """Record that a person accepted or rejected a draft."""
        check_form()
        place, role = self._place(), request.form.get("role", "").strip().lower()
        asked = request.form.get("decision", "")
        if asked not in DECISIONS or not ROLE_PATTERN.fullmatch(role):
            raise BadRequest("A decision and the reviewer's role are needed.")
        decision = Decision(
            place.pick.case_id,
            request.form.get("mask", ""),
            accept=DECISIONS[asked],
            role=role,
            at=self._source.clock().at,
        )
        self._open().change(lambda archive: decide(archive, decision), keeping=(ORDER,))
        back = url_for("project.session", name=place.pick.case_id)
        return redirect(back, HTTPStatus.SEE_OTHER)

    def training(self) -> ResponseReturnValue:
        """Show the folds, their cost and the rounds, as far as they are."""
        if self._project is None:
            return _without_archive("Training")
        reading = self._project.read("training", read_training)
        return render_template(
            "status/training.html", reading=reading, training=reading.value
        )

    def _open(self) -> Project:
        if self._project is None:
            raise NotFound("No archive is configured.")
        return self._project

    def _states(self, number: int, places: tuple[Place, ...]) -> Reading[Any]:
        """Return the states of the masks on a page, for who may see them."""
        if not visitor().sees_identifiers or not places:
            return Reading()
        names = [place.pick.case_id for place in places]
        key = f"states-{number}"
        return self._open().read(key, lambda archive: read_states(archive, names))

    def _place(self) -> Place:
        """Return the place of the session that the request names.

        Only a ranked session is looked up: a request cannot name files by itself.
        """
        if not visitor().sees_identifiers:
            raise Forbidden("Sign in with the token to see sessions by name.")
        order: Reading[Order | None] = self._open().read(ORDER, read_order)
        if order.value is None and order.is_pending:
            raise ServiceUnavailable(
                "The archive is being asked. Try again in a moment.", retry_after=2
            )
        name = request.values.get("name", "")
        place = order.value.place_of(name) if order.value is not None else None
        if place is None:
            raise NotFound("There is no such session in the ranking.")
        return place

    def _draft(self, place: Place) -> Reading[Draft]:
        name = place.pick.case_id
        key = f"draft-{name}"
        return self._open().read(key, lambda archive: read_draft(archive, name))


def _may_decide(draft: Draft | None) -> bool:
    """Tell whether there is a model's mask to decide on."""
    record = draft.record if draft is not None else None
    return record is not None and record.state is not MaskState.HUMAN


def _without_archive(title: str) -> str:
    return render_template("status/no_archive.html", title=title)
