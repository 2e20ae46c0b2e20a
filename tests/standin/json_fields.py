"""Custom fields of the newer kind: JSON, in another store than ``fields/field``."""

from typing import Any

from flask import Response, jsonify, request

from standin.refused import Refused
from standin.rights import require_edit, require_readable
from standin.routes import Routes
from standin.state import State

routes = Routes()
BASE = "/xapi/custom-fields/projects/<project>/experiments/<key>/fields"


def _fields(state: State, project: str, key: str) -> tuple[dict[str, Any], str]:
    experiment = state.archive.experiment(key, project)
    require_readable(state, experiment)
    return state.json_fields.setdefault(experiment.id, {}), experiment.project


@routes.get(BASE)
def read(state: State, project: str, key: str) -> Response:
    return jsonify(_fields(state, project, key)[0])


@routes.put(BASE)
def merge(state: State, project: str, key: str) -> Response:
    found, owner = _fields(state, project, key)
    require_edit(state, owner)
    given = request.get_json(silent=True)
    if not isinstance(given, dict):
        raise Refused(400, "The fields must be a JSON object")
    found.update(given)
    return jsonify(found)


@routes.delete(f"{BASE}/<name>")
def delete(state: State, project: str, key: str, name: str) -> Response:
    found, owner = _fields(state, project, key)
    require_edit(state, owner)
    if name not in found:
        raise Refused(404)
    del found[name]
    return jsonify(found)
