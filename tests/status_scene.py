"""A service at work: a study in every state, an archive, a training half done."""

from pathlib import Path

from flask import Flask
from queue_case import HandClock
from status_inputs import PASSING_CLOUD, Service, preview, result
from status_project import NAMES, draft, ranked, trained

from plugin.folder_archive import FolderArchive
from plugin.provenance import MaskState
from plugin.status import HttpConfig

DOUBTS = (
    "Dice 0.87 with the mirrored images' mask",
    "left side goes on beyond the last slice at the head",
)
NO_BREAST = "no breasts of a prone patient by the body's shape: no air in front"
GARBLED = (
    "study {uid}: found 12 of 160 slices of the first phase; needed all of them. "
    "Mend: send the study again."
)


class Scene:
    """The service, its archive, and the jobs by what they are."""

    def __init__(self, root: Path, *, slices: int = 12, matrix_px: int = 64) -> None:
        self.clock = HandClock()
        self.service = Service(root, self.clock)
        self.archive: FolderArchive = ranked(root / "archive")
        self._size = {"slices": slices, "matrix_px": matrix_px}
        self._fill_archive()
        self.parked = self.service.parked("parked")
        self.service.parked("garbled", GARBLED, "incomplete")
        self.done = self._finished()
        self._retried()
        self.running = self.service.running("running", "infer", 0.4)
        self.clock.tick(9)
        self.queued = self.service.queued("queued")
        self.incoming = self.service.receive("incoming", instances=148)
        self.settle()

    def app(self, config: HttpConfig) -> Flask:
        """Return the pages of the service and its archive."""
        return self.service.app(
            config, archive=self.archive, destinations=("pacs", "research")
        )

    def settle(self) -> None:
        """Let the supervisor write what it sees."""
        at = self.clock().at.isoformat()
        here = self.running.job_id
        answers = {"reachable": True, "at": at, "text": ""}
        refuses = {"reachable": False, "at": at, "text": "no connection"}
        workers = [{"name": "gpu-0", "pid": 1, "state": "busy", "job": here}]
        told = {"pacs": answers, "research": refuses}
        self.service.health(workers=workers, destinations=told)

    def _fill_archive(self) -> None:
        picture = preview(8, **self._size)
        draft(self.archive, NAMES[0], picture=picture)
        draft(self.archive, NAMES[1], MaskState.HUMAN, picture=picture)
        trained(self.archive)

    def _finished(self) -> list[str]:
        """Finish studies minutes apart, of all verdicts; one has no preview."""
        findings = (
            ("publish", (), 11.4),
            ("publish", (), 11.9),
            ("hold", (NO_BREAST,), 6.0),
            ("publish", (), 12.9),
            ("publish", (), 10.8),
            ("review", DOUBTS, 12.1),
            ("publish", (), 10.2),
        )
        return [
            self._one(at, result(verdict, reasons=why, infer_s=took))
            for at, (verdict, why, took) in enumerate(findings)
        ]

    def _one(self, at: int, found: dict[str, object]) -> str:
        job = self.service.taken(f"done-{at}")
        self.clock.tick(60 + 37 * (at % 5))
        held = found["verdict"] == "hold"
        picture = None if held else preview(at + 1, **self._size)
        return self.service.finish(job, found, picture)

    def _retried(self) -> None:
        job = self.service.taken("retried")
        job.retry(PASSING_CLOUD, wait_s=240)
