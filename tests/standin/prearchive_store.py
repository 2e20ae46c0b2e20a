"""Sessions that wait before the archive."""

from dataclasses import dataclass, field
from pathlib import Path

from standin.tables import Row


@dataclass(slots=True)
class Waiting:
    """One session in the prearchive."""

    project: str
    timestamp: str
    name: str
    subject: str
    folder: Path
    status: str = "READY"

    @property
    def uri(self) -> str:
        return f"/prearchive/projects/{self.project}/{self.timestamp}/{self.name}"

    def row(self) -> Row:
        moment = "2026-01-01 00:00:00.0"
        return {
            "project": self.project,
            "timestamp": self.timestamp,
            "lastmod": moment,
            "uploaded": moment,
            "scan_date": "",
            "scan_time": "",
            "subject": self.subject,
            "folderName": self.name,
            "name": self.name,
            "tag": "",
            "status": self.status,
            "url": self.uri,
            "autoarchive": "",
            "prevent_anon": "false",
            "prevent_auto_commit": "false",
        }


@dataclass(slots=True)
class Prearchive:
    """All that wait."""

    waiting: list[Waiting] = field(default_factory=list)
