"""The workflows of the archive, listed, read and updated by REST."""

from flask import Response, request

from standin.refused import not_found
from standin.routes import Routes
from standin.state import State
from standin.tables import result_set
from standin.workflow_store import Workflow

routes = Routes()


def _found(state: State, key: str) -> Workflow:
    match = next((w for w in state.workflows if w.id == key), None)
    if match is None:
        raise not_found("workflow")
    return match


@routes.get("/data/workflows")
@routes.get("/data/archive/workflows")
def listed(state: State) -> Response:
    return result_set(workflow.row() for workflow in list(state.workflows))


@routes.get("/data/workflows/<key>")
def one(state: State, key: str) -> dict[str, object]:
    meta = {"xsi:type": "wrk:workflowData", "isHistory": False}
    fields = _found(state, key).row()
    return {"items": [{"children": [], "data_fields": fields, "meta": meta}]}


@routes.put("/data/workflows/<key>")
def updated(state: State, key: str) -> str:
    workflow = _found(state, key)
    for name, value in request.args.items():
        if name.rpartition("/")[2] == "status":
            workflow.status = value
    return workflow.id
