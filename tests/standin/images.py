"""Images on the Container Service's engine: their labels, and commands saved from them.

A command that is invalid, or there already, is left out without a word.
"""

import json

from flask import Response, request

from standin.commands import require_manager, save
from standin.refused import Refused
from standin.routes import Routes
from standin.state import State

LABEL = "org.nrg.commands"

routes = Routes()


@routes.post("/xapi/docker/images/save")
@routes.post("/xapi/docker/pull")
def saved(state: State) -> Response:
    """Save the commands of an image's label; it is 200 whatever becomes of them."""
    require_manager(state)
    image = request.args.get("image", "")
    labels = state.commands.images.get(image)
    if labels is None:
        raise Refused(404, f"No image {image}")
    for command in json.loads(labels.get(LABEL, "[]")):
        try:
            save(state.commands, command, image)
        except Refused:
            continue
    return Response(status=200)
