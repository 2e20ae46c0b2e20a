"""A command on a Container Service: found, compared, stored, and read back.

Source: the service's ``CommandRestApi`` and ``CommandEntity`` (3.7). An update replaces
the whole command; a wrapper that changed cannot keep its id.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from plugin.errors import ArchiveError
from plugin.xnat.client import XnatClient, path_of

COMMANDS = "/xapi/commands"
KEY = ("name", "image", "version")
"""What a command is unique by."""
EXACT = frozenset(
    {
        *("environment-variables", "container-labels", "generic-resources"),
        *("ports", "ulimits"),
    }
)
"""Maps that the service stores as they are, and adds nothing to."""

Document = Mapping[str, Any]


def find(client: XnatClient, wanted: Document) -> Document | None:
    """Return the stored command of the same name, image and version."""
    return next(
        (c for c in _same_name(client, wanted) if _key(c) == _key(wanted)), None
    )


def others(client: XnatClient, wanted: Document) -> tuple[str, ...]:
    """Return the versions of the stored commands of that name that are not this one."""
    found = (c for c in _same_name(client, wanted) if _key(c) != _key(wanted))
    return tuple(f"{c.get('version')} (id {c.get('id')})" for c in found)


def store(client: XnatClient, wanted: Document, known: Document | None) -> Document:
    """Create the command, or replace the known one; return it as read back.

    Raises
    ------
    ArchiveError
        If the server refuses it, or keeps something else.
    """
    subject = subject_of(wanted)
    if known is None:
        found = client.post(COMMANDS, subject, dict(wanted)).strip()
    else:
        found = str(known["id"])
        path = COMMANDS + path_of(found)
        client.post(path, subject, replacement(known, wanted))
    stored = (
        client.json(COMMANDS + path_of(found), subject) if found.isdigit() else None
    )
    kept: Document = stored if isinstance(stored, Mapping) else {}
    lost = [key for key, value in wanted.items() if not _covers_key(kept, key, value)]
    if lost:
        raise ArchiveError(
            subject,
            found=f"another {', '.join(lost)} when read back",
            needed="the command that was sent",
            mend="update the Container Service plugin to 3.7 or newer, then run again",
        )
    return kept


def replacement(known: Document, wanted: Document) -> dict[str, Any]:
    """Return the document that turns ``known`` into ``wanted``.

    An unchanged wrapper is sent as it is stored, and so stays enabled; a changed one
    is sent without an id, and is a new one.
    """
    stored = {wrapper["name"]: wrapper for wrapper in known.get("xnat") or ()}
    wrappers = [
        stored[wrapper["name"]]
        if covers(stored.get(wrapper["name"]), wrapper)
        else {key: value for key, value in wrapper.items() if key != "id"}
        for wrapper in wanted.get("xnat", ())
    ]
    return {**wanted, "id": known["id"], "xnat": wrappers}


def covers(stored: Any, wanted: Any) -> bool:
    """Tell whether a stored document says all that ``wanted`` says, and lists no more.

    The service adds ids and defaults to objects, and may return lists in another order.
    """
    if isinstance(wanted, Mapping):
        return isinstance(stored, Mapping) and all(
            _covers_key(stored, key, value) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(stored or [], list) and _covers_list(stored or [], wanted)
    return bool(stored == wanted or (stored is None and wanted == ""))


def wrapper_ids(stored: Document) -> dict[str, int]:
    """Return the ids of a stored command's wrappers, by name."""
    return {str(w["name"]): int(w["id"]) for w in stored.get("xnat") or ()}


def subject_of(command: Document) -> str:
    """Return how messages call a command."""
    return f"command {command.get('name')} {command.get('version')}"


def _covers_key(stored: Document, key: str, value: Any) -> bool:
    if key == "id":
        return True
    if key in EXACT:
        return bool((stored.get(key) or {}) == value)
    return covers(stored.get(key), value)


def _covers_list(stored: Sequence[Any], wanted: Sequence[Any]) -> bool:
    if len(stored) != len(wanted):
        return False
    if all(isinstance(each, Mapping) and "name" in each for each in (*stored, *wanted)):
        named = {each["name"]: each for each in stored}
        return all(covers(named.get(each["name"]), each) for each in wanted)
    return sorted(map(_text, stored)) == sorted(map(_text, wanted))


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _same_name(client: XnatClient, wanted: Document) -> list[Document]:
    found = client.json(COMMANDS, "the site's commands")
    named = found if isinstance(found, list) else []
    return [c for c in named if c.get("name") == wanted.get("name")]


def _key(command: Document) -> tuple[str, ...]:
    return tuple(str(command.get(part)) for part in KEY)
