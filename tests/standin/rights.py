"""Who may read, create, edit and delete what: owner, member, collaborator."""

from flask import g

from standin.accounts import GUEST
from standin.records import Experiment, Project
from standin.refused import Refused, forbidden, not_found
from standin.state import State

ROLES = {"owner": "Owners", "member": "Members", "collaborator": "Collaborators"}
EDITORS = frozenset({"owner", "member"})


def user() -> str:
    """Return who asks: a user name, ``guest`` without a login."""
    return str(g.user)


def is_admin(state: State) -> bool:
    return user() in state.accounts.admins


def require_admin(state: State) -> None:
    if not is_admin(state):
        raise forbidden()


def require_user() -> None:
    if user() == GUEST:
        raise Refused(401, "The request requires user authentication")


def can_read(state: State, project: Project) -> bool:
    public = project.accessibility == "public"
    return public or is_admin(state) or user() in project.roles


def can_edit(state: State, project: Project) -> bool:
    return is_admin(state) or project.roles.get(user()) in EDITORS


def is_owner(state: State, project: Project) -> bool:
    return is_admin(state) or project.roles.get(user()) == "owner"


def readable_project(state: State, key: str) -> Project:
    """Return a project that the user may see; others do not exist for them."""
    project = state.archive.project(key)
    if not can_read(state, project):
        raise not_found("project")
    return project


def require_readable(state: State, experiment: Experiment) -> None:
    projects = [state.archive.projects[key] for key in experiment.projects]
    readable = any(can_read(state, project) for project in projects)
    if not readable or experiment.id in state.unreadable:
        raise forbidden("User account doesn't have permission to view this session.")


def require_edit(state: State, project: str) -> None:
    if not can_edit(state, state.archive.project(project)):
        raise forbidden("User account doesn't have permission to modify this session.")


def require_delete(state: State, project: str) -> None:
    if not is_owner(state, state.archive.project(project)):
        raise forbidden("User account doesn't have permission to modify this session.")


def require_owner(state: State, project: str) -> None:
    found = state.archive.project(project)
    if not is_admin(state) and found.roles.get(user()) != "owner":
        raise forbidden()
