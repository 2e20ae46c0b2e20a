"""The event subscription that segments sessions as they arrive, in one project.

``SessionEvent CREATED`` is the one event that our own results never raise. Source: the
Event Service's REST API; its keys have hyphens, and its names are unique on a site.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plugin.errors import ArchiveError
from plugin.xnat.client import XnatClient, path_of
from plugin.xnat.listing import MR_SESSION

PREFERENCES = "/xapi/events/prefs"
ACTION = "org.nrg.containers.services.CommandActionProvider:"
EVENT = "org.nrg.xnat.eventservice.events.SessionEvent"
CREATED = "CREATED"
FILTER = f'@.xsiType == "{MR_SESSION}"'

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a new MR session of one project starts."""

    project: str
    wrapper_id: int

    @property
    def name(self) -> str:
        """Return the name by which it is found again."""
        return f"brs segment {self.project}"

    def document(self, attributes: Document) -> dict[str, Any]:
        """Return what the service stores.

        Containers run with the rights of who installs it; a project's subscription
        has no other way.
        """
        return {
            "name": self.name,
            "active": True,
            "action-key": f"{ACTION}{self.wrapper_id}",
            "attributes": dict(attributes),
            "act-as-event-user": False,
            "event-filter": {
                "event-type": EVENT,
                "status": CREATED,
                "project-ids": [self.project],
                "payload-filter": FILTER,
            },
        }

    def is_done_by(self, known: Document) -> bool:
        """Tell whether a stored subscription starts the same, on the same events."""
        ours = self.document({})
        return known.get("action-key") == ours["action-key"] and all(
            _same(known.get("event-filter", {}).get(key), value)
            for key, value in ours["event-filter"].items()
        )

    @property
    def base(self) -> str:
        """Return the path of the project's events."""
        return "/xapi" + path_of("projects", self.project, "events")

    def one(self, known: Document) -> str:
        """Return the path of one stored subscription."""
        return self.base + path_of("subscription", str(known["id"]))


def is_on(client: XnatClient) -> bool:
    """Tell whether the Event Service is on; only an administrator may ask."""
    found = client.json(PREFERENCES, "the Event Service")
    return isinstance(found, Mapping) and found.get("enabled") is True


def switch_service_on(client: XnatClient) -> None:
    """Switch the Event Service on, for the whole site."""
    client.put_json(PREFERENCES, "the Event Service", {"enabled": True})
    if not is_on(client):
        raise _unkept("the Event Service", "it is still off when read back")


def find(client: XnatClient, wanted: Subscription) -> Document | None:
    """Return the project's subscription of that name, or one that does the same."""
    found = _listed(client, wanted)
    named = [each for each in found if each.get("name") == wanted.name]
    doing = [each for each in found if wanted.is_done_by(each)]
    return next(iter([*named, *doing]), None)


def store(client: XnatClient, wanted: Subscription, known: Document | None) -> None:
    """Create the subscription in place of the known one, and read it back.

    The known one's settings are kept. Its name has to be free first.
    """
    if known is not None and wanted.is_done_by(known):
        client.post(f"{wanted.one(known)}/activate", wanted.name, {})
    else:
        if known is not None:
            client.delete(wanted.one(known), wanted.name)
        attributes = (known or {}).get("attributes") or {}
        path = f"{wanted.base}/subscription"
        client.post(path, wanted.name, wanted.document(attributes))
    stored = find(client, wanted)
    if stored is None or not wanted.is_done_by(stored) or not stored.get("active"):
        raise _unkept(wanted.name, "no such active subscription when read back")


def _listed(client: XnatClient, wanted: Subscription) -> Sequence[Document]:
    found = client.json(f"{wanted.base}/subscriptions", "the project's subscriptions")
    return found if isinstance(found, list) else []


def _same(stored: Any, wanted: Any) -> bool:
    """Compare one key of a filter; the service takes ' for a double quote."""
    if isinstance(stored, str) and isinstance(wanted, str):
        return stored.replace("'", '"') == wanted
    return bool(stored == wanted)


def _unkept(subject: str, found: str) -> ArchiveError:
    return ArchiveError(
        subject,
        found=found,
        needed="what was sent",
        mend="see the server's log, then run again",
    )
