"""Everything one stand-in knows and can be told; every part works on it."""

from dataclasses import dataclass, field
from pathlib import Path

from standin.accounts import Accounts
from standin.archive import Archive
from standin.command_store import Commands
from standin.prearchive_store import Prearchive
from standin.records import Values
from standin.subscriptions import Events
from standin.workflow_store import Workflow


@dataclass(slots=True)
class State:
    """The archive, the accounts, and what an administrator has switched."""

    archive: Archive
    accounts: Accounts = field(default_factory=Accounts)
    plugins: set[str] = field(
        default_factory=lambda: {"containers", "ohifViewerPlugin"}
    )
    version: str = "1.9.2.1"
    checksums: bool = True
    login_required: bool = True
    silent_refusal: bool = False
    """True: a file PUT without the right answers 200 and stores nothing."""
    unreadable: set[str] = field(default_factory=set)
    """Experiments that are listed and cannot be read."""
    commands: Commands = field(default_factory=Commands)
    events: Events = field(default_factory=Events)
    prearchive: Prearchive = field(default_factory=Prearchive)
    workflows: list[Workflow] = field(default_factory=list)
    json_fields: dict[str, dict[str, object]] = field(default_factory=dict)
    """Custom fields of the newer kind (JSON), by experiment id."""
    preferences: Values = field(default_factory=dict)
    url: str = ""

    @property
    def root(self) -> Path:
        return self.archive.root
