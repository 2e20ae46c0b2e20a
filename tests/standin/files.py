"""Files of resources: listed, zipped, served, stored and deleted."""

from collections.abc import Iterator, Sequence
from urllib.parse import unquote

from flask import Response, jsonify, request, send_file

from standin.archive import Owner
from standin.listings import Listed, file_rows, resource_rows
from standin.parents import Parents, all_holders, holders, resolve
from standin.paths import Route
from standin.records import Resource
from standin.refused import Refused, forbidden, not_found
from standin.rights import can_edit, is_owner, require_delete, user
from standin.state import State
from standin.storage import (
    Incoming,
    add_files,
    remove_file,
    remove_resource,
    unpacked,
    write_catalog,
)
from standin.tables import result_set
from standin.workflow_store import Workflow
from standin.zips import zipped


def true(name: str) -> bool:
    return request.args.get(name, "").lower() in ("true", "1")


def resources(state: State, route: Route) -> Response:
    """Return the resources of what the path names; with ``all`` those below it too."""
    parents = resolve(state, route)
    found = (all_holders if true("all") else holders)(state, parents, route)
    return result_set(resource_rows(found))


def resource_created(state: State, route: Route) -> Response:
    """Create the resource; one that is there is 409, even an empty one."""
    _refuse_path(route)
    parents = resolve(state, route)
    if not _may_fill(state, parents):
        raise forbidden("User account doesn't have permission to modify this.")
    owner = holders(state, parents, route)[0].owner
    label = str(route.get("R"))
    if owner.find(label) is not None:
        raise Refused(409, "Specified resource already exists.")
    about = {key: request.args.get(key, "") for key in ("format", "content", "tags")}
    with state.archive.lock:
        write_catalog(state.archive.add_resource(owner, label, **about))
    _note(state, parents, "Create Resource")
    return Response(status=200)


def _refuse_path(route: Route) -> None:
    """Refuse a path below a resource that lacks ``files``: a file was meant."""
    if route.rest:
        raise Refused(400, "A file path was given where a resource is named.")


def resource_deleted(state: State, route: Route) -> Response:
    _refuse_path(route)
    parents = resolve(state, route)
    require_delete(state, parents.home)
    owner, resource = _resource(state, parents, route)
    del owner.resources[resource.label]
    remove_resource(resource)
    _note(state, parents, "Remove Resource")
    return Response(status=200)


def served(state: State, route: Route) -> Response:
    """Return one file, a listing, or a zip of files."""
    parents = resolve(state, route)
    found = _listed(state, parents, route)
    name = _name(route)
    if name:
        return _one(found, name)
    if request.args.get("format", "").lower() == "zip":
        return zipped(found, parents.experiment)
    return result_set(file_rows(state, found))


def _listed(state: State, parents: Parents, route: Route) -> list[Listed]:
    wanted = route.get("R")
    shortcut = wanted is None
    found = (all_holders if true("all") else holders)(state, parents, route)
    listed = []
    for holder in found:
        for resource in list(holder.owner.resources.values()):
            if shortcut or _is_wanted(resource, str(wanted)):
                files = list(resource.files.values())
                listed += [
                    Listed(holder, resource.label, resource.id, f) for f in files
                ]
    if (
        not shortcut
        and not listed
        and not any(
            holder.owner.find(one) for holder in found for one in str(wanted).split(",")
        )
    ):
        raise not_found("resource")
    return listed


def _is_wanted(resource: Resource, wanted: str) -> bool:
    return bool({resource.id, resource.label, "*"} & set(wanted.split(",")))


def _one(found: list[Listed], name: str) -> Response:
    listed = next((one for one in found if one.file.name == name), None)
    if listed is None or not listed.file.path.is_file():
        raise Refused(404, "Unable to find file.")
    return send_file(
        listed.file.path,
        mimetype="application/octet-stream",
        download_name=name.rpartition("/")[2],
        etag=False,
        conditional=False,
    )


def _name(route: Route) -> str:
    return "/".join(route.rest)


def stored(state: State, route: Route) -> Response:
    """Store uploaded files; without ``overwrite`` those that exist stay, with 200."""
    parents = resolve(state, route)
    if not _may_fill(state, parents):
        return _refused(state)
    sources = _sources(_name(route))
    overwrite = true("overwrite")
    about = {
        "format": request.args.get("format", ""),
        "content": request.args.get("content", ""),
        "tags": request.args.get("tags", ""),
    }
    with state.archive.lock:
        resource = _resource_to_fill(state, parents, route)
    duplicates = add_files(resource, _members(sources), overwrite=overwrite, **about)
    if duplicates and not overwrite:
        body = jsonify({"duplicates": duplicates})
        body.mimetype = "text/html"
        return body
    _note(state, parents, "Upload File")
    return Response("", mimetype="text/plain")


def _may_fill(state: State, parents: Parents) -> bool:
    """Tell whether the user may change resources there: of a project only owners."""
    project = state.archive.project(parents.home)
    if parents.experiment is None and parents.subject is None:
        return is_owner(state, project)
    return can_edit(state, project)


def _refused(state: State) -> Response:
    if state.silent_refusal:
        return Response("", mimetype="text/plain")
    raise forbidden("User account doesn't have permission to modify this session.")


def _sources(name: str) -> list[Incoming]:
    """Return what was uploaded: a form's files, or the body itself."""
    found = []
    if request.mimetype == "multipart/form-data":
        files = request.files.values()
        found = [Incoming(name or unquote(f.filename or ""), f.stream) for f in files]
    elif request.mimetype == "application/octet-stream" or true("inbody"):
        found = [Incoming(name, request.stream)]
    if not found or not (request.content_length or _is_chunked()):
        text = f"You tried to {request.method} without providing any data."
        raise Refused(400, text)
    return found


def _members(sources: Sequence[Incoming]) -> Iterator[Incoming]:
    for source in sources:
        if true("extract"):
            yield from unpacked(source.name, source.stream)
        else:
            yield source


def _is_chunked() -> bool:
    return "chunked" in request.headers.get("Transfer-Encoding", "").lower()


def _resource_to_fill(state: State, parents: Parents, route: Route) -> Resource:
    """Return the resource that files go to; XNAT makes one that is not there."""
    owner = holders(state, parents, route)[0].owner
    label = route.get("R") or "NO LABEL"
    return owner.find(label) or state.archive.add_resource(owner, label)


def deleted(state: State, route: Route) -> Response:
    parents = resolve(state, route)
    require_delete(state, parents.home)
    _, resource = _resource(state, parents, route)
    keep = request.args.get("removeFiles", "").lower() == "false"
    remove_file(resource, _name(route), from_disk=not keep)
    _note(state, parents, "Remove File")
    return Response(status=200)


def _resource(state: State, parents: Parents, route: Route) -> tuple[Owner, Resource]:
    for holder in holders(state, parents, route):
        found = holder.owner.find(str(route.get("R")))
        if found is not None:
            return holder.owner, found
    raise not_found("resource")


def found_resource(state: State, route: Route) -> Resource:
    parents = resolve(state, route)
    return _resource(state, parents, route)[1]


def _note(state: State, parents: Parents, what: str) -> None:
    experiment = parents.experiment
    key = experiment.id if experiment else parents.home
    kind = experiment.xsi_type if experiment else "xnat:projectData"
    workflow = Workflow(what, key, parents.home, kind, user())
    state.workflows.append(workflow)
